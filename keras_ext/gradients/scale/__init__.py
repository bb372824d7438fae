"""Rules for how far each weight moves."""
