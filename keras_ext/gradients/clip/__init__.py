"""Transforms that bound the gradient, or the update."""
