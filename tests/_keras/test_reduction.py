"""What `_reduction` relies on in Keras, and what it promises."""

from contextlib import nullcontext

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._keras import _reduction
from tests.thorough import thorough_but


@pytest.mark.parametrize(
    "make",
    thorough_but(
        {keras.optimizers.Adam},
        [
            keras.optimizers.SGD,
            keras.optimizers.Adam,
            keras.optimizers.Adafactor,
            keras.optimizers.Lion,
            keras.optimizers.RMSprop,
        ],
    ),
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
        leave_out = _reduction.gradients_already_reduced(optimizer)
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
        with _reduction.gradients_already_reduced(scaler):
            assert all(map(_reduction.receives_reduced_gradients, family))
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        fail()
    assert not any(map(_reduction.receives_reduced_gradients, family))
