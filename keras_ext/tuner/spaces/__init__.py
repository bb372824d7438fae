"""Spaces to search in: networks, optimization, and how to train."""

from keras_ext.tuner.spaces._convnet import convnet
from keras_ext.tuner.spaces._mlp import mlp
from keras_ext.tuner.spaces._optimization import optimization
from keras_ext.tuner.spaces._recurrent import recurrent
from keras_ext.tuner.spaces._training import training
from keras_ext.tuner.spaces._transformer import transformer

__all__ = [
    "convnet",
    "mlp",
    "optimization",
    "recurrent",
    "training",
    "transformer",
]
