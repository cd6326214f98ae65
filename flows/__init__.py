"""When and where stages run: recipe, plan, Prefect flows and the `puna` command."""
