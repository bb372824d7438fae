"""What `AdaptiveRegularization` may decide by."""

from keras_ext.callbacks._regularization_strategies._bandit import ByBandit
from keras_ext.callbacks._regularization_strategies._gap import ByGap
from keras_ext.callbacks._regularization_strategies._hypergradient import (
    ByHypergradient,
)
from keras_ext.callbacks._regularization_strategies._population import ByPopulation
from keras_ext.callbacks._regularization_strategies._strategy import Sensed, Strategy

__all__ = [
    "ByBandit",
    "ByGap",
    "ByHypergradient",
    "ByPopulation",
    "Sensed",
    "Strategy",
]
