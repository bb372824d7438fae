"""What `AdaptiveRegularization` may decide by."""

from keras_ext.callbacks.regularization._rules._by_gap import ByGap
from keras_ext.callbacks.regularization._rules._by_hypergradient import (
    ByHypergradient,
)
from keras_ext.callbacks.regularization._rules._by_population import ByPopulation
from keras_ext.callbacks.regularization._rules._regularization_rule import (
    RegularizationRule,
    Sensed,
)

__all__ = [
    "ByGap",
    "ByHypergradient",
    "ByPopulation",
    "RegularizationRule",
    "Sensed",
]
