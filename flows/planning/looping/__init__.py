"""A recipe that runs once per crawl: what a run continues, and what of its sources is new."""
