"""The penalties of Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.regularizers import L1, L1L2, L2

X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (L1(), keras.regularizers.L1()),
        (L2(), keras.regularizers.L2()),
        (L1(0.3), keras.regularizers.L1(0.3)),
        (L2(0.3), keras.regularizers.L2(0.3)),
        (L1L2(0.3, 0.2), keras.regularizers.L1L2(0.3, 0.2)),
    ],
    ids=lambda regularizer: type(regularizer).__module__,
)
def test_penalty_and_gradient_are_those_of_keras(ours, theirs):
    assert ours.get_config() == pytest.approx(theirs.get_config())
    x, found = tf.Variable(X), []
    for regularizer in (ours, theirs):
        with tf.GradientTape() as tape:
            penalty = regularizer(x)
        found.append((penalty, tape.gradient(penalty, x)))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-6)


def test_activities_can_be_regularized():
    dense = keras.layers.Dense(
        2, activity_regularizer=L2(0.5), kernel_initializer="ones"
    )
    dense(np.ones((4, 3), "float32"))
    # Keras takes the mean over the batch.
    assert float(dense.losses[0]) == pytest.approx(0.5 * 2 * 3**2)
