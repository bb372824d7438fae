"""Norms of groups in NumPy, and what they do to useless groups."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.regularizers import GroupLasso, SparseGroupLasso

RNG = np.random.default_rng(0)


def groups_of(x, group):
    if x.ndim == 1:
        return x.reshape(-1, 1)
    axis = -1 if group == "unit" else -2
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def norms(x, group):
    return sum(np.sqrt(len(g)) * np.linalg.norm(g) for g in groups_of(x, group))


@pytest.mark.parametrize("shape", [(5,), (4, 3), (3, 2, 4, 5)])
@pytest.mark.parametrize("group", ["unit", "input"])
def test_penalty_is_the_sum_of_the_norms(shape, group):
    x = RNG.normal(size=shape).astype("float32")
    found = float(GroupLasso(0.5, per=group)(x))
    assert found == pytest.approx(0.5 * norms(x, group), rel=1e-5)
    found = float(SparseGroupLasso(0.5, l1_ratio=0.25, per=group)(x))
    expected = 0.75 * norms(x, group) + 0.25 * np.abs(x).sum()
    assert found == pytest.approx(0.5 * expected, rel=1e-5)


def test_gradient_has_the_same_norm_for_every_group_and_none_at_zero():
    x = tf.Variable(RNG.normal(size=(4, 3)) * [1.0, 1e-3, 0.0], dtype="float32")
    with tf.GradientTape() as tape:
        penalty = GroupLasso(0.5)(x)
    gradient = np.asarray(tape.gradient(penalty, x))
    np.testing.assert_allclose(
        np.linalg.norm(gradient, axis=0), [0.5 * 2, 0.5 * 2, 0], rtol=1e-5
    )


def test_selects_the_features_that_matter():
    x = RNG.normal(size=(200, 6)).astype("float32")
    y = x[:, :2] @ RNG.normal(size=(2, 4)).astype("float32")
    dense = keras.layers.Dense(
        4, kernel_regularizer=GroupLasso(0.05, per="input"), use_bias=False
    )
    model = keras.Sequential([keras.Input((6,)), dense])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    batches = tf.data.Dataset.from_tensors((x, y)).repeat(200)
    model.fit(batches, shuffle=False, verbose=0)
    size = np.linalg.norm(np.asarray(dense.kernel), axis=1)
    assert np.all(size[:2] > 0.2)
    assert np.all(size[2:] < 0.05)


@pytest.mark.parametrize("kind", [GroupLasso, SparseGroupLasso])
def test_rejects_bad_arguments(kind):
    with pytest.raises(ValueError, match='`per` must be "unit" or "input"'):
        kind(per="output")
    if kind is SparseGroupLasso:
        with pytest.raises(ValueError, match=r"`l1_ratio` must be a number in \[0, 1"):
            kind(l1_ratio=1.5)
