"""What the pipeline does: one package a stage, plain functions without Prefect."""
