"""A folder that may stand first on any path: its one module has a name that nobody else uses."""
