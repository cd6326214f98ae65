"""A folder that is safe to put first on any import path: its one module has an unusual name."""
