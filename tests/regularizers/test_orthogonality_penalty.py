"""Against eigenvalues and norms of NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.regularizers import OrthogonalityPenalty

RNG = np.random.default_rng(0)
SHAPES = [(6, 4), (4, 6), (5, 5), (3, 3, 2, 4), (2, 9)]


def expected(x, kind):
    w = x.reshape(-1, x.shape[-1]).astype("float64")
    grams = [w.T @ w - np.eye(w.shape[1]), w @ w.T - np.eye(w.shape[0])]
    small = min(grams, key=len)
    if kind == "srip":
        return np.abs(np.linalg.eigvalsh(small)).max()
    if kind == "mc":
        return np.abs(small).max()
    if kind == "so":
        return np.sum(small**2)
    return sum(np.sum(gram**2) for gram in grams)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["srip", "so", "dso", "mc"])
def test_penalty_is_that_of_the_paper(shape, kind):
    x = RNG.normal(size=shape).astype("float32")
    found = float(OrthogonalityPenalty(0.5, rule=kind, iterations=200)(x))
    assert found == pytest.approx(0.5 * expected(x, kind), rel=1e-4)


def test_few_iterations_estimate_from_below():
    x = RNG.normal(size=(20, 10)).astype("float32")
    whole = expected(x, "srip")
    found = [float(OrthogonalityPenalty(1.0, iterations=n)(x)) for n in (1, 2, 5, 30)]
    assert found == sorted(found)
    assert found[1] > 0.4 * whole
    assert found[-1] <= whole * (1 + 1e-5)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
@pytest.mark.parametrize(
    # Those of one eigenvalue or element end in a zigzag as wide as the step.
    ("kind", "left"),
    [("srip", 0.5), ("so", 0.01), ("dso", 0.01), ("mc", 0.5)],
)
def test_descent_makes_units_orthonormal(kind, left, shape):
    kernel = keras.Variable(np.random.default_rng(1).normal(size=shape) * 0.5)
    before, optimizer = expected(np.asarray(kernel), "so"), keras.optimizers.SGD(0.01)
    penalty = OrthogonalityPenalty(1.0, rule=kind, iterations=10)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = penalty(kernel)
        optimizer.apply(tape.gradient(loss, [kernel.value]), [kernel])

    optimizer.build([kernel])
    for _ in range(300):
        step()
    assert expected(np.asarray(kernel), "so") < left * before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "SRIP"}, '`rule` must be "srip", "so", "dso" or "mc"'),
        ({"iterations": 0}, "`iterations` must be an integer >= 1"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        OrthogonalityPenalty(**arguments)


def test_rejects_biases():
    with pytest.raises(ValueError, match="`x` must be a weight with two axes or more"):
        OrthogonalityPenalty()(np.ones(3))
