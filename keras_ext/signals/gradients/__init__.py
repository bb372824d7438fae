"""Measurements of gradients."""
