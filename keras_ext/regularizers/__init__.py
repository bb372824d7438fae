"""Regularizers."""

from keras_ext.regularizers._attach import attach
from keras_ext.regularizers._depthwise_strengths import DepthwiseStrengths
from keras_ext.regularizers._group_lasso import GroupLasso, SparseGroupLasso
from keras_ext.regularizers._l1_l2 import L1, L1L2, L2
from keras_ext.regularizers._live_regularizer import LiveRegularizer
from keras_ext.regularizers._orthogonality_penalty import OrthogonalityPenalty

__all__ = [
    "DepthwiseStrengths",
    "GroupLasso",
    "L1",
    "L1L2",
    "L2",
    "LiveRegularizer",
    "OrthogonalityPenalty",
    "SparseGroupLasso",
    "attach",
]
