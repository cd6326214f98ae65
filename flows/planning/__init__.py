"""Recipe -> graph -> pins -> plan: what is there, what must run, and why."""
