"""How good an explanation is."""

from keras_ext.explain.metrics._additivity import additivity
from keras_ext.explain.metrics._agreement import agreement
from keras_ext.explain.metrics._curve import Curve
from keras_ext.explain.metrics._deletion import deletion
from keras_ext.explain.metrics._infidelity import infidelity
from keras_ext.explain.metrics._insertion import insertion
from keras_ext.explain.metrics._parameter_randomization import parameter_randomization
from keras_ext.explain.metrics._sensitivity_max import sensitivity_max

__all__ = [
    "Curve",
    "additivity",
    "agreement",
    "deletion",
    "infidelity",
    "insertion",
    "parameter_randomization",
    "sensitivity_max",
]
