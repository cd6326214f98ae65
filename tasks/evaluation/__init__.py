"""Evaluation of a model by several protocols side by side, with standard errors."""
