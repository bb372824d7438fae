"""Functions that run or read a model and say what they find."""

from keras_ext.diagnostics._diagnose import diagnose
from keras_ext.diagnostics._find_batch_size import find_batch_size

__all__ = ["diagnose", "find_batch_size"]
