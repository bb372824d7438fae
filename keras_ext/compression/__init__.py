"""Smaller models: zeros in their weights, and what they are worth in a file."""

from keras_ext.compression._constant_sparsity import ConstantSparsity
from keras_ext.compression._keep_zeros import KeepZeros
from keras_ext.compression._polynomial_decay import PolynomialDecay
from keras_ext.compression._prune import Prune
from keras_ext.compression._prune_at_once import prune
from keras_ext.compression._pruning_report import PruningReport
from keras_ext.compression._sparsity_schedule import SparsitySchedule

__all__ = [
    "ConstantSparsity",
    "KeepZeros",
    "PolynomialDecay",
    "Prune",
    "PruningReport",
    "SparsitySchedule",
    "prune",
]
