"""Common Crawl by its names: crawls, listings of archives, and the columnar index."""
