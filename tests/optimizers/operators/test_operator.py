import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.optimizers import Proximal, operators
from keras_ext.optimizers.operators._operator import shrunk_groups
from tests.thorough import thorough_but

ALL = [getattr(operators, name) for name in operators.__all__ if name != "Operator"]


@pytest.mark.parametrize("kind", thorough_but({operators.SimplexProjection}, ALL))
def test_is_saved_keeps_the_dtype_and_compiles(kind):
    operator = kind(0.1) if kind is operators.BoxProjection else kind()
    config = keras.saving.serialize_keras_object(operator)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == operator.get_config()
    kernel = tf.random.normal((4, 3), dtype="float64")
    step = tf.constant(0.5, tf.float64)

    @tf.function(jit_compile=True)
    def apply():
        return tf.cast(again(tf.cast(kernel, "float32"), 0.5, (0,)), "float64")

    found = operator(kernel, step, (0,))
    assert found.dtype == "float64"
    np.testing.assert_allclose(apply(), found, atol=1e-5)
    assert np.any(found != kernel)


def test_its_hyperparameters_are_found_under_its_name():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    operator = operators.SparseGroupShrinkage(0.1)
    model.compile(Proximal("sgd", operator), "mse")
    found = kx.hyper_variables(model)
    assert found["optimizer/sparse_group_shrinkage/strength"] is operator.strength


def test_has_to_be_overridden():
    optimizer = Proximal("sgd", operators.Operator(), include=None)
    with pytest.raises(NotImplementedError, match=r"must override __call__\("):
        optimizer.apply([tf.ones(1)], [keras.Variable([0.0], name="weight")])


def test_groups_shrink_alike_with_one_threshold_or_one_for_each_element():
    weight = keras.ops.array([[0.03, 0.0], [0.04, 0.001]])
    one = shrunk_groups(weight, 0.02, [0])
    np.testing.assert_allclose(one, [[0.018, 0.0], [0.024, 0.0]], rtol=1e-5)
    each = shrunk_groups(weight, keras.ops.full((2, 2), 0.02), [0])
    np.testing.assert_allclose(each, one, rtol=1e-4, atol=1e-8)
