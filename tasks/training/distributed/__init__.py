"""Several ranks that train one model: who they are, and which rows of it each holds."""
