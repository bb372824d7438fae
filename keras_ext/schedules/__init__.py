"""Schedules of the learning rate, to give to any optimizer of Keras."""

from keras_ext.schedules._cosine_restarts_with_warmup import CosineRestartsWithWarmup
from keras_ext.schedules._cyclical_learning_rate import CyclicalLearningRate
from keras_ext.schedules._inverse_square_root import InverseSquareRoot
from keras_ext.schedules._one_cycle import OneCycle
from keras_ext.schedules._plot import plot
from keras_ext.schedules._rex import Rex
from keras_ext.schedules._schedule import Schedule
from keras_ext.schedules._sequential import Sequential
from keras_ext.schedules._warmup import Warmup
from keras_ext.schedules._warmup_stable_decay import WarmupStableDecay

__all__ = [
    "CosineRestartsWithWarmup",
    "CyclicalLearningRate",
    "InverseSquareRoot",
    "OneCycle",
    "Rex",
    "Schedule",
    "Sequential",
    "Warmup",
    "WarmupStableDecay",
    "plot",
]
