import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks.gradients._hypergradient_gain import HypergradientGain

GRADIENTS = np.random.default_rng(0).normal(size=(8, 2, 3)).astype("float32")


def run(per, limits=(1e-3, 1e3)):
    """Two weights in layers of their own, whose gradients are the rows."""
    part = HypergradientGain(0.5, per, limits)
    optimizer = kx.optimizers.GradientPipeline(keras.optimizers.SGD(0.1), [part])
    weights = [keras.Variable(np.zeros(3), name=name) for name in "ab"]
    gains = []
    for gradients in GRADIENTS:
        optimizer.apply([keras.ops.array(g) for g in gradients], weights)
        gains.append(list(part.gains.values()))
    return np.array(gains), np.array([keras.ops.convert_to_numpy(w) for w in weights])


def cosine(a, b):
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


@pytest.mark.parametrize("per", ["global", "layer"])
def test_follows_the_multiplicative_rule(per):
    """For SGD the last move is against the last gradient: in NumPy, float64."""
    gains, weights = run(per)
    g = GRADIENTS.astype("float64")
    count = 1 if per == "global" else 2
    expected, present = [], np.ones(count)
    place = np.zeros((2, 3))
    for t in range(len(g)):
        if t > 0:
            pairs = [(g[t], g[t - 1])]
            if per == "layer":
                pairs = list(zip(g[t], g[t - 1], strict=True))
            present = present * [1 + 0.5 * cosine(a, b) for a, b in pairs]
        expected.append(present)
        place -= 0.1 * np.reshape(present, (-1, 1)) * g[t]
    np.testing.assert_allclose(gains, expected, rtol=1e-5)
    np.testing.assert_allclose(weights, place, rtol=1e-4, atol=1e-6)


def test_stays_within_limits_and_is_one_without_gradients():
    gains, _ = run("global", limits=(0.99, 1.01))
    assert gains.min() >= np.float32(0.99)
    assert gains.max() <= np.float32(1.01)
    part = HypergradientGain(0.5, "global", (0.1, 10.0))
    optimizer = kx.optimizers.GradientPipeline(keras.optimizers.SGD(0.1), [part])
    weight = keras.Variable(np.zeros(3))
    for _ in range(3):
        optimizer.apply([keras.ops.zeros(3)], [weight])
    assert part.gains == {"global": 1.0}
