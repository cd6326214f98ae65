"""What training will take before it runs: memory, time, energy, CO2 and money. No torch."""
