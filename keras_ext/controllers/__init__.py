"""Controllers: what to do about a measurement. Plain Python, without Keras."""

from keras_ext.controllers import batch_size
from keras_ext.controllers._pi import PI

__all__ = ["PI", "batch_size"]
