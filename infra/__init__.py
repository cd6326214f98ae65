"""What the stages stand on: the stage contract, the artifact store, the engine, atomic files."""
