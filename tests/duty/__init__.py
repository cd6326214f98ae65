"""The pipeline as it is on duty: deployed, with services that stay up. Run by `make duty`."""
