"""Proximal operators and projections, for `Proximal` and `ADMM`."""

from keras_ext.optimizers.operators._box_projection import BoxProjection
from keras_ext.optimizers.operators._cardinality_projection import CardinalityProjection
from keras_ext.optimizers.operators._elastic_net_shrinkage import ElasticNetShrinkage
from keras_ext.optimizers.operators._group_shrinkage import GroupShrinkage
from keras_ext.optimizers.operators._l1_shrinkage import L1Shrinkage
from keras_ext.optimizers.operators._nuclear_shrinkage import NuclearShrinkage
from keras_ext.optimizers.operators._operator import Operator
from keras_ext.optimizers.operators._simplex_projection import SimplexProjection
from keras_ext.optimizers.operators._sparse_group_shrinkage import SparseGroupShrinkage

__all__ = [
    "BoxProjection",
    "CardinalityProjection",
    "ElasticNetShrinkage",
    "GroupShrinkage",
    "L1Shrinkage",
    "NuclearShrinkage",
    "Operator",
    "SimplexProjection",
    "SparseGroupShrinkage",
]
