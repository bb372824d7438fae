"""The numbers of Keras on the first replica, and others on the others."""

import keras
import numpy as np
import tensorflow as tf

from keras_ext.layers.dropout._replica_seeds import ReplicaSeeds


def draws(seeds):
    return [np.asarray(keras.random.uniform((3,), seed=seeds)) for _ in range(2)]


def test_without_replicas_they_are_those_of_keras():
    expected = draws(keras.random.SeedGenerator(7))
    np.testing.assert_array_equal(draws(ReplicaSeeds(7)), expected)


def test_every_replica_has_its_own(strategies):
    strategy = strategies(2)
    with strategy.scope():
        seeds = ReplicaSeeds(7)

    @tf.function(autograph=False)
    def step():
        return strategy.run(lambda: keras.random.uniform((3,), seed=seeds))

    found = [strategy.experimental_local_results(step()) for _ in range(2)]
    first, second = np.asarray(found).swapaxes(0, 1)
    np.testing.assert_array_equal(first, draws(keras.random.SeedGenerator(7)))
    assert not np.any(np.isclose(first, second))
