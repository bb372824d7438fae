"""What `_replica` relies on in Keras and TensorFlow, and what it promises."""

from contextlib import nullcontext

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.core import _replica


@pytest.mark.parametrize(
    "make",
    [
        keras.optimizers.SGD,
        keras.optimizers.Adam,
        keras.optimizers.Adafactor,
        keras.optimizers.Lion,
        keras.optimizers.RMSprop,
    ],
)
def test_keras_still_sums_gradients_where_it_is_told_not_to(make, strategies):
    """A new Keras that sums elsewhere must fail here, not in someone's training."""
    strategy = strategies(2)
    with strategy.scope():
        optimizer = make()
        weight = keras.Variable(np.ones((2, 2)), name="weight")
        optimizer.build([weight])
    seen = []
    update_step = optimizer.update_step

    def spy(gradient, variable, learning_rate):
        seen.append(gradient)
        return update_step(gradient, variable, learning_rate)

    object.__setattr__(optimizer, "update_step", spy)

    @tf.function(autograph=False)
    def sees(reduced):
        seen.clear()
        leave_out = _replica.gradients_already_reduced(optimizer)
        with leave_out if reduced else nullcontext():
            strategy.run(lambda: optimizer.apply([tf.ones((2, 2))], [weight]))
        return [g[0, 0] for g in seen]

    # One replica each saw a gradient of 1: their sum is 2.
    assert {float(g) for g in sees(False)} == {2.0}
    assert {float(g) for g in sees(True)} == {1.0}


def test_override_is_gone_afterwards_also_after_an_error():
    scaler = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
    family = [scaler, scaler.inner_optimizer]

    def fail():
        with _replica.gradients_already_reduced(scaler):
            assert all(map(_replica.receives_reduced_gradients, family))
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        fail()
    assert not any(map(_replica.receives_reduced_gradients, family))


def test_merge_says_what_is_wrong_outside_of_a_replica(strategies):
    with (
        strategies(2).scope(),
        pytest.raises(RuntimeError, match=r"Call it in strategy\.run"),
    ):
        _replica.merge(lambda strategy: None)


def test_squared_norms_in_half_precision():
    dense = tf.constant([[3.0, 4.0]])
    half = tf.constant([300.0, 400.0], tf.float16)  # the squares overflow float16
    np.testing.assert_allclose(_replica.squared_norms([dense, half]), [25.0, 250000.0])
    assert _replica.squared_norms([]).shape == (0,)


def test_dense_adds_the_rows_of_one_index():
    rows = tf.constant([[1.0], [2.0], [4.0]])
    sparse = tf.IndexedSlices(rows, tf.constant([1, 0, 1]), tf.constant([3, 1]))
    assert _replica.dense(sparse).numpy().tolist() == [[2.0], [5.0], [0.0]]
