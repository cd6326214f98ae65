"""Binning: one category's documents to tokens, dealt into bins and packed into rows of fixed
length, none lost.
"""
