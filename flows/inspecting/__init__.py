"""`puna inspect`: which artifacts hold what a stage decided, and what is shown of a document."""
