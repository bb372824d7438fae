"""Callbacks that see or shape gradients."""
