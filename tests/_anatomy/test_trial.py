import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._anatomy._trial import called, loss_of, trace_early


class Old(keras.Model):
    """Neither `call` nor `compute_loss` takes `training`."""

    def call(self, inputs):
        return 2.0 * inputs

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return keras.ops.mean(y_pred - y)


class Modern(Old):
    def call(self, inputs, training=None):
        return 3.0 * inputs if training else 2.0 * inputs

    def compute_loss(self, *args, training=True, **kwargs):
        return super().compute_loss(*args, **kwargs) + 10.0 * float(training)


X = np.ones((2, 1), "float32")


def test_methods_get_what_they_take():
    assert float(loss_of(Old(), X, X, None, training=True)) == 1.0
    assert float(loss_of(Modern(), X, X, None, training=True)) == 12.0
    assert float(loss_of(Modern(), X, X, None, training=False)) == 1.0
    np.testing.assert_array_equal(called(Modern(), X, training=True), 3.0 * X)


def test_what_fails_is_told_with_its_reason_and_nothing_is_computed():
    variable = tf.Variable(0.0)

    @tf.function
    def fails(x):
        variable.assign_add(1.0)
        raise NotImplementedError("no such thing")

    with pytest.raises(ValueError, match="(?s)`data` must .* the loss .*no such thing"):
        trace_early(fails, (X,), "data", "the loss")
    assert float(variable) == 0.0
