"""Walk a plan, and keep the record and the results of a run."""
