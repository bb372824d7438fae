"""Maps of what matters in the inputs, as plain arrays."""
