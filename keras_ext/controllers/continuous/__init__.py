"""Controllers that move a number."""
