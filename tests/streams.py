"""A stream of gradients with zeros and spikes, and what transforms make of it."""

from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

FIXTURES = Path(__file__).parent / "fixtures"
_FILE = dict(np.load(FIXTURES / "gradient_stream.npz"))

# From the path of a weight to fifty gradients of it, and to the weight.
STREAM = {name: a for name, a in _FILE.items() if not name.endswith("/weight")}
WEIGHTS = {name: _FILE[f"{name}/weight"] for name in STREAM}


def variables_of(weights):
    """Variables with these paths, from a dictionary of their values."""
    variables = []
    for path, value in weights.items():
        folder, _, name = path.rpartition("/")
        with keras.name_scope(folder) if folder else nullcontext():
            variables.append(keras.Variable(value, dtype=value.dtype, name=name))
    assert [v.path for v in variables] == list(weights)
    return variables


def transformed(transform, stream=STREAM, weights=WEIGHTS, **function_options):
    """What a transform makes of each gradient, as a dictionary like the stream."""
    variables = variables_of({name: weights[name] for name in stream})
    transform.build(variables, {})

    @tf.function(autograph=False, **function_options)
    def step(*gradients):
        return transform(gradients, variables)

    results = [
        step(*map(tf.constant, gradients))
        for gradients in zip(*stream.values(), strict=True)
    ]
    columns = zip(*results, strict=True)
    return dict(zip(stream, map(np.stack, columns), strict=True))


def assert_moves_as(ours, oracle, **tolerance):
    """Asserts that two optimizers make the same weights of the stream."""
    weights = [variables_of(WEIGHTS) for _ in range(2)]
    for gradients in zip(*STREAM.values(), strict=True):
        for optimizer, variables in zip((ours, oracle), weights, strict=True):
            optimizer.apply([tf.constant(g) for g in gradients], variables)
    for a, e in zip(*weights, strict=True):
        np.testing.assert_allclose(a.numpy(), e.numpy(), **tolerance)


def norms_of(gradients):
    """The norms of a stack of gradients, in float64."""
    rows = np.asarray(gradients, "float64").reshape(len(gradients), -1)
    return np.linalg.norm(rows, axis=1)


def assert_equal_streams(actual, expected, rtol=1e-6):
    """Asserts that each gradient is equal, relative to the largest part of it."""
    assert set(actual) == set(expected)
    for name, e in expected.items():
        for t, (a, b) in enumerate(zip(actual[name], e, strict=True)):
            tolerance = rtol * np.abs(b).max()
            message = f"{name}, update {t}"
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=message)
