"""Checkpoints of a running phase."""
