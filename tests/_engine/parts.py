"""What the tests of several kinds of parts share."""

import keras
import numpy as np

from keras_ext import HyperVariable
from keras_ext.gradients import GradientTransform


class ScaleAndCount(GradientTransform):
    """Multiplies by a live factor, and counts its calls in a variable of its own."""

    def __init__(self, factor, include=None, exclude=None):
        super().__init__(include=include, exclude=exclude)
        self.factor = HyperVariable(factor, "factor")
        self.offset = HyperVariable(0.0, "offset")
        self.name_of_no_interest = "factor"

    def build(self, variables, unit_axes):
        super().build(variables, unit_axes)
        self.calls = keras.Variable(0, dtype="int32", trainable=False, name="calls")
        self.state = [*self.state, self.calls]

    def transform(self, gradients, variables):
        self.seen = [v.name for v in variables]
        self.calls.assign_add(1)
        return [g * self.factor.value + self.offset.value for g in gradients]


def weights():
    return [
        keras.Variable(np.zeros((2, 3)), dtype="float32", name="kernel"),
        keras.Variable(np.zeros(3), dtype="float32", name="bias"),
        keras.Variable(np.zeros(3), dtype="float32", name="gamma"),
    ]
