import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import AfterUpdate, UpdateScale
from keras_ext.optimizers import GradientPipeline
from tests.thorough import LONG


class Shrink(AfterUpdate):
    """The proximal step of an L1 penalty of 1."""

    def new_values(self, variables, learning_rate):
        self.told = [v.name for v in variables]
        return [shrunk(v.value, learning_rate) for v in variables]


def shrunk(x, by):
    sizes = keras.ops.abs(x) - keras.ops.cast(by, x.dtype)
    return keras.ops.sign(x) * keras.ops.relu(sizes)


def weights(dtype="float32"):
    return [
        keras.Variable([1.0, -0.3], dtype=dtype, name="kernel"),
        keras.Variable([0.3], dtype=dtype, name="bias"),
    ]


def test_changes_the_chosen_weights_after_the_optimizer():
    (kernel, bias), shrink = weights(), Shrink(exclude="bias")
    pipeline = GradientPipeline(keras.optimizers.SGD(0.5), [shrink])
    pipeline.apply([tf.constant([0.4, 0.4]), tf.constant([0.2])], [kernel, bias])
    # 1 - 0.2 - 0.5, and -0.3 - 0.2 = -0.5, which is shrunk to 0.
    np.testing.assert_allclose(kernel, [0.3, 0.0], atol=1e-6)
    np.testing.assert_allclose(bias, [0.2], atol=1e-6)
    assert shrink.told == ["kernel"]


def test_lasso_is_that_of_scikit_learn():
    from sklearn.linear_model import Lasso

    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)).astype("float32")
    y = x @ np.float32([2.0, 0.0, -1.0, 0.0, 0.05]) + 0.1 * rng.normal(size=60)
    kernel = keras.Variable(np.zeros(5), dtype="float32", name="kernel")

    class Proximal(Shrink):
        def new_values(self, variables, learning_rate):
            return super().new_values(variables, 0.3 * learning_rate)

    pipeline = GradientPipeline(keras.optimizers.SGD(0.2), [Proximal()])
    for _ in range(200):
        residual = tf.linalg.matvec(x, kernel.value) - np.float32(y)
        pipeline.apply([tf.linalg.matvec(x, residual, transpose_a=True) / 60], [kernel])
    expected = Lasso(alpha=0.3, fit_intercept=False).fit(x.astype(float), y).coef_
    np.testing.assert_allclose(kernel, expected, atol=1e-3)
    assert np.sum(np.array(kernel) == 0) == np.sum(expected == 0) > 0


def test_is_not_called_for_an_update_that_is_left_out():
    (kernel, bias), shrink = weights(), Shrink()
    pipeline = GradientPipeline(keras.optimizers.SGD(0.5), [shrink])
    pipeline.apply([tf.constant([np.nan, 0.0]), tf.constant([0.0])], [kernel, bias])
    np.testing.assert_allclose(kernel, [1.0, -0.3])


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_keeps_the_dtype_and_comes_after_scales(dtype):
    class Nothing(UpdateScale):
        def factor(self, variable, move, learning_rate):
            return 0.0

    kernel, bias = weights(dtype)
    pipeline = GradientPipeline(keras.optimizers.SGD(0.25), [Shrink(), Nothing()])
    pipeline.apply([tf.ones(2, dtype), tf.ones(1, dtype)], [kernel, bias])
    assert kernel.dtype == dtype
    np.testing.assert_allclose(kernel, [0.75, -0.05], atol=1e-3)


@pytest.mark.thorough(LONG)
def test_two_replicas_give_the_weights_of_one(strategies):
    def trained(replicas):
        with strategies(replicas).scope():
            keras.utils.set_random_seed(0)
            model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
            pipeline = GradientPipeline(
                keras.optimizers.SGD(0.1), [Shrink()], accumulation_steps=2
            )
            model.compile(pipeline, "mse")
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(32, 3)), rng.normal(size=(32, 2))
        model.fit(x, y, 8, shuffle=False, verbose=0)
        return model.get_weights()

    for a, e in zip(trained(2), trained(1), strict=True):
        np.testing.assert_allclose(a, e, atol=1e-6)


def test_has_to_be_overridden():
    pipeline = GradientPipeline("sgd", [AfterUpdate()])
    with pytest.raises(NotImplementedError, match=r"override new_values\("):
        pipeline.apply([tf.ones(1)], [keras.Variable([0.0], name="w")])
