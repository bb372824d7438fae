"""The strategies that tests run under."""

import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def strategies():
    """Returns a function from a number of replicas, 1 or 2, to a strategy."""
    mirrored = []

    def strategy(replicas):
        if replicas == 1:
            return tf.distribute.get_strategy()
        assert replicas == 2
        # Two of them in one process would mix up the keys of their collectives.
        if not mirrored:
            mirrored.append(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
        return mirrored[0]

    return strategy
