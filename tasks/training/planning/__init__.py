"""The plan of one phase: its rows, steps, mixture and learning rate. Without torch."""
