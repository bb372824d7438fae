"""Ways to explain, each with the same call."""
