"""Weights and models that are averages of several."""
