"""Main content and metadata of web pages of every kind."""
