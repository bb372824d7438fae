"""Optimizers on a single weight."""

import keras
import numpy as np


def weights_after(optimizer, start, gradients, name="kernel"):
    """The values of a weight after each of some gradients."""
    weight = keras.Variable(np.float32(start), name=name)
    values = []
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(np.float32(gradient))], [weight])
        values.append(weight.numpy())
    return values


def steps_of(optimizer, gradients, start=0.0, name="kernel"):
    """What each of some gradients adds to a weight."""
    start = np.float32(start)
    values = [start, *weights_after(optimizer, start, gradients, name)]
    return [after - before for before, after in zip(values, values[1:], strict=False)]
