"""Hyperparameters that can change while the compiled step keeps running."""
