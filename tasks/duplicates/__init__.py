"""Elections among duplicates: parts, order, fates, clusters and gates, of whatever finds pairs."""
