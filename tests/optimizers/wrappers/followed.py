"""The stream of gradients of `fixtures/wrappers.npz`, and optimizers that follow it."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

FIXTURE = np.load(Path(__file__).parents[2] / "fixtures" / "wrappers.npz")
GRADIENTS = [FIXTURE[f"{name}/gradients"] for name in ("kernel", "bias")]


def variables(dtype="float32"):
    """The kernel and the bias at the beginning."""
    return [
        keras.Variable(FIXTURE[f"{name}/weight"], dtype=dtype, name=name)
        for name in ("kernel", "bias")
    ]


def followed(optimizer, weights=None, gradients=GRADIENTS, **options):
    """The kernel after each update by the gradients of the stream."""
    weights = variables() if weights is None else weights
    optimizer.build(weights)

    @tf.function(autograph=False, **options)
    def step(*gradients):
        optimizer.apply([tf.cast(g, weights[0].dtype) for g in gradients], weights)

    path = []
    for rows in zip(*gradients, strict=True):
        step(*map(tf.constant, rows))
        path.append(np.array(weights[0]))
    return np.stack(path)
