"""Evaluation: what a model knows, by several protocols side by side, with standard errors."""
