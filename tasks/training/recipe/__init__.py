"""What a recipe says of training, part by part: light, without torch."""
