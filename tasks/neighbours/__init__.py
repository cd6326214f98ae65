"""Neighbours: pairs of documents whose vectors are near, found through clusters."""
