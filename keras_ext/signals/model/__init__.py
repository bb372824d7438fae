"""Measurements of what a model computes."""
