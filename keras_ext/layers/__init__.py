"""Layers."""

from keras_ext.layers._adaptive_dropout import AdaptiveDropout
from keras_ext.layers._concrete_dropout import ConcreteDropout
from keras_ext.layers._drop_block import DropBlock1D, DropBlock2D, DropBlock3D
from keras_ext.layers._drop_path import DropPath
from keras_ext.layers._group_dropout import GroupDropout
from keras_ext.layers._mc_predict import mc_predict
from keras_ext.layers._scheduled_dropout import ScheduledDropout
from keras_ext.layers._sparse_variational_dense import SparseVariationalDense
from keras_ext.layers._standout import Standout
from keras_ext.layers._uniform_out import UniformOut
from keras_ext.layers._variational_dropout import VariationalDropout

__all__ = [
    "AdaptiveDropout",
    "ConcreteDropout",
    "DropBlock1D",
    "DropBlock2D",
    "DropBlock3D",
    "DropPath",
    "GroupDropout",
    "ScheduledDropout",
    "SparseVariationalDense",
    "Standout",
    "UniformOut",
    "VariationalDropout",
    "mc_predict",
]
