"""Functions that run or read a model and say what they find."""

from keras_ext.diagnostics._diagnose import diagnose
from keras_ext.diagnostics._find_batch_size import find_batch_size
from keras_ext.diagnostics._find_learning_rate import find_learning_rate
from keras_ext.diagnostics._float_operations import float_operations

__all__ = ["diagnose", "find_batch_size", "find_learning_rate", "float_operations"]
