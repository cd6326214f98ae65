"""Applies every source's `keep` to its annotations: one reason, language, category and bucket per
document.
"""
