"""Transforms that bring gradients to one size or mean."""
