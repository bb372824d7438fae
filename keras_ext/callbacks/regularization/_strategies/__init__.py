"""What `AdaptiveRegularization` may decide by."""

from keras_ext.callbacks.regularization._strategies._by_gap import ByGap
from keras_ext.callbacks.regularization._strategies._by_hypergradient import (
    ByHypergradient,
)
from keras_ext.callbacks.regularization._strategies._by_population import ByPopulation
from keras_ext.callbacks.regularization._strategies._strategy import Sensed, Strategy

__all__ = [
    "ByGap",
    "ByHypergradient",
    "ByPopulation",
    "Sensed",
    "Strategy",
]
