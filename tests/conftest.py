"""Two virtual CPUs for the tests of distribution, and a fresh start for every test."""

import keras
import pytest
import tensorflow as tf

# TensorFlow takes this only before it is used for the first time.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


@pytest.fixture(autouse=True)
def _reproducible():
    """Every test starts from the same seed, float32 and no leftover state."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")
    keras.utils.clear_session(free_memory=False)


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
