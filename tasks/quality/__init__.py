"""Heuristic quality rules of Gopher, C4 and FineWeb as pure functions with reasons."""
