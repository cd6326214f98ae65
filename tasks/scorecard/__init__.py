"""Stage scorecard: what a crawl changed, against the promoted run, and whether that is allowed."""
