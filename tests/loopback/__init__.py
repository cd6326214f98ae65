"""Servers on this machine that stand in for the internet's, with its faults."""
