"""What people see of a run: the console, the dashboard, the local Prefect server."""
