"""Callbacks that stop training, or the training of layers."""
