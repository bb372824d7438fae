"""What `_replica` relies on in Keras and TensorFlow, and what it promises."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ext._keras import _replica


def test_merge_says_what_is_wrong_outside_of_a_replica(strategies):
    with (
        strategies(2).scope(),
        pytest.raises(RuntimeError, match=r"Call it in strategy\.run"),
    ):
        _replica.merge(lambda strategy: None)


@pytest.mark.parametrize("replicas", [1, 2])
def test_sums_over_replicas_of_nothing_and_outside_of_one(strategies, replicas):
    strategy = strategies(replicas)
    assert strategy.run(lambda: _replica.all_reduce_sum([])) == []
    (value,) = strategy.run(lambda: _replica.all_reduce_sum([tf.constant(2.0)]))
    assert float(_replica.first_replica(strategy, value)) == 2.0 * replicas
    with strategy.scope():  # where there is no replica to be in
        (value,) = _replica.all_reduce_sum([tf.constant(2.0)])
    assert float(value) == 2.0


def test_squared_norms_in_half_precision():
    dense = tf.constant([[3.0, 4.0]])
    half = tf.constant([300.0, 400.0], tf.float16)  # the squares overflow float16
    np.testing.assert_allclose(_replica.squared_norms([dense, half]), [25.0, 250000.0])
    assert _replica.squared_norms([]).shape == (0,)
