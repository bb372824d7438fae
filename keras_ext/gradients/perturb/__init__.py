"""Transforms that add noise or delay."""
