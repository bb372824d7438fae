"""A fresh start for every test, and for every example of a docstring."""

import keras
import pytest
import tensorflow as tf

# TensorFlow takes this only before it is used for the first time. The tests of
# distribution need the two.
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
