"""Callbacks that move regularization or repair what it does."""
