"""Layers that are random while training."""
