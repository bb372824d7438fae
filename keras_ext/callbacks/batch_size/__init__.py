"""Callbacks that choose the batch size."""
