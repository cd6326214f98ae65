"""The recipe: its sections, the YAML file, checks between sections, errors with file and line."""
