"""Layers."""

from keras_ext.layers._adaptive_dropout import AdaptiveDropout

__all__ = ["AdaptiveDropout"]
