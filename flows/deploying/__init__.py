"""The pipeline on duty: deployments, work pools, automations, and the flows that only these run."""
