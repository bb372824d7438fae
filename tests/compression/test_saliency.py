import keras
import numpy as np
import pytest

from keras_ext.compression import ConstantSparsity
from keras_ext.compression._saliency import Saliency
from keras_ext.optimizers import GradientPipeline
from tests.compression.test_prune import kernels, prune


def test_taylor_keeps_what_the_loss_depends_on():
    """Of two inputs the one with the larger weight is without use."""
    x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
    x[:, 0] = 0
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.set_weights([np.float32([[5.0], [1.0]]), np.float32([0])])
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    schedule = ConstantSparsity(0.5, begin_step=4)
    callback = prune(schedule, criterion="taylor")
    model.fit(x, 2 * x[:, 1:], epochs=3, callbacks=[callback], verbose=0)
    np.testing.assert_array_equal(kernels(model)[0] != 0, [[False], [True]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Sums of -w * g along the way of SGD(1) from (1, -2).
        ("movement", [-(1 * 0.5 + 0.5 * -0.5), -(-2 * 1 + -3 * 1)]),
        ("gradient", [0.5, 1.0]),
        ("taylor", [0.02 * (0.98 * 0.25 + 0.0625), 0.02 * (0.98 * 4 + 9)]),
    ],
)
def test_scores_by_hand(kind, expected):
    weight = keras.Variable([1.0, -2.0])
    other = keras.Variable([1.0])
    saliency = Saliency(kind, [weight])
    pipeline = GradientPipeline(keras.optimizers.SGD(1.0), signals=[saliency])
    for gradient in ([0.5, 1.0], [-0.5, 1.0]):
        gradients = [keras.ops.array([1.0]), keras.ops.array(gradient)]
        pipeline.apply(gradients, [other, weight])
    np.testing.assert_allclose(saliency.scores[0], expected, rtol=1e-6)
