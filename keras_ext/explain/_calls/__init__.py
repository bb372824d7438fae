"""The calls that a model is made of, and the kinds of layers."""
