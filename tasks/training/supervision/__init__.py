"""The processes of a phase: started, watched, started again, and why they ended."""
