from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._keras._whole_update import WholeUpdate


class Descent(WholeUpdate):
    """Takes the gradients off."""

    def update(self, gradients, variables, learning_rate):
        self.seen = gradients
        for gradient, variable in zip(gradients, variables, strict=True):
            variable.assign_sub(gradient)


def test_keras_still_asks_for_what_is_overridden():
    """With one of these names gone, clipping or decay would happen twice or never."""
    for name in ("_backend_update_step", "_clip_gradients", "_apply_weight_decay"):
        assert hasattr(keras.optimizers.Optimizer, name)
        assert name in vars(WholeUpdate)


def test_all_gradients_come_at_once_dense_and_clipped():
    weights = [
        keras.Variable(np.ones((3, 2), "float32"), name=n) for n in ("table", "kernel")
    ]
    optimizer = Descent(0.1, clipnorm=1.0, weight_decay=0.5)
    rows = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([1, 1]), tf.constant([3, 2]))
    optimizer.apply([rows, tf.fill((3, 2), 0.1)], weights)
    table, kernel = optimizer.seen
    np.testing.assert_allclose(table, [[0, 0], [0.5**0.5] * 2, [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(kernel, 0.1 * np.ones((3, 2)), rtol=1e-6)
    np.testing.assert_allclose(weights[1], 0.9 * np.ones((3, 2)), rtol=1e-6)
    assert [optimizer.index_of(w) for w in weights] == [0, 1]


class Read(WholeUpdate):
    """Keeps what it is given, in a variable."""

    def build(self, variables):
        super().build(variables)
        self.got = self.add_variable((), name="got", aggregation="sum")

    def update(self, gradients, variables, learning_rate):
        self.got.assign(gradients[0])


@pytest.mark.parametrize(("clipnorm", "expected"), [(None, -9.0), (1.0, -1.0)])
def test_clipping_comes_after_the_sum_over_the_replicas(clipnorm, expected, strategies):
    """Clipped first, -10 and 1 would cancel."""
    with strategies(2).scope():
        weight = keras.Variable(0.0, name="weight")
        optimizer = Read(0.1, clipnorm=clipnorm)
        optimizer.build([weight])
    apply = tf.function(partial(_apply, optimizer, weight), autograph=False)
    strategies(2).run(apply)
    np.testing.assert_allclose(optimizer.got.numpy() / 2, expected)


def _apply(optimizer, weight):
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    optimizer.apply([tf.gather([-10.0, 1.0], number)], [weight])
