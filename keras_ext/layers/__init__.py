"""Layers."""

from keras_ext.layers.dropout._concrete_dropout import ConcreteDropout
from keras_ext.layers.dropout._drop_block import DropBlock1D, DropBlock2D, DropBlock3D
from keras_ext.layers.dropout._drop_path import DropPath
from keras_ext.layers.dropout._group_dropout import GroupDropout
from keras_ext.layers.dropout._live_dropout import LiveDropout
from keras_ext.layers.dropout._scheduled_dropout import ScheduledDropout
from keras_ext.layers.dropout._sparse_variational_dense import SparseVariationalDense
from keras_ext.layers.dropout._standout import Standout
from keras_ext.layers.dropout._uniform_out import UniformOut
from keras_ext.layers.dropout._variational_dropout import VariationalDropout

__all__ = [
    "ConcreteDropout",
    "DropBlock1D",
    "DropBlock2D",
    "DropBlock3D",
    "DropPath",
    "GroupDropout",
    "LiveDropout",
    "ScheduledDropout",
    "SparseVariationalDense",
    "Standout",
    "UniformOut",
    "VariationalDropout",
]
