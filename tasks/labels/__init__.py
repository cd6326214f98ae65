"""Labels: a rubric asked of a chat model over a sample of documents."""
