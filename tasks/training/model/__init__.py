"""What is done to a model of transformers so that it trains on packed rows: loss, masks, angles."""
