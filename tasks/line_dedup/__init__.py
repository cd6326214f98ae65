"""Lines (or paragraphs) that a source repeats, as edits on its documents."""
