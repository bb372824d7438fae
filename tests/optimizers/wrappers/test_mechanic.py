import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.optimizers import Mechanic
from tests.optimizers.wrappers.followed import FIXTURE, followed, variables
from tests.thorough import MATRIX, TRAININGS


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("sgd", keras.optimizers.SGD(1.0)),
        pytest.param(
            "adam",
            keras.optimizers.Adam(1.0, epsilon=1e-12),
            marks=pytest.mark.thorough(MATRIX),
        ),
    ],
)
def test_follows_optax_in_float64(name, inner):
    """Which recomputes the way from where training began; in float32 it loses it."""
    path = followed(Mechanic(inner, initial_scale=1e-4), jit_compile=True)
    # It grows as long as the gradients drift.
    size = np.abs(path[-1]).max()
    assert size > 10
    np.testing.assert_allclose(path, FIXTURE[f"mechanic/{name}"], atol=1e-5 * size)


def test_weights_without_a_gradient_follow_the_factor():
    """Where they are is where training began plus the factor times their way."""
    optimizer, weights = Mechanic("sgd", initial_scale=0.1), variables()
    optimizer.build(weights)
    start = np.array(weights[1])
    gradients = [tf.ones((4, 3)), tf.ones(3)]
    optimizer.apply(gradients, weights)
    scale, moved = optimizer.scale, np.array(weights[1]) - start
    for _ in range(3):
        optimizer.apply([gradients[0], None], weights)
    assert optimizer.scale > 1.5 * scale
    np.testing.assert_allclose(
        np.array(weights[1]) - start, moved * optimizer.scale / scale, atol=1e-6
    )


def test_refuses_constraints():
    weight = variables()[0]
    weight.constraint = keras.constraints.NonNeg()
    with pytest.raises(ValueError, match="must be none with Mechanic"):
        Mechanic("sgd").build([weight])


@pytest.mark.thorough(TRAININGS)
@pytest.mark.parametrize("rate", [1e-3, 1.0, 1e3])
def test_any_learning_rate_of_the_wrapped_one_will_do(rate):
    """A badly scaled quadratic, from rates that differ by a million."""
    weight = keras.Variable(np.ones(4, "float32"), name="weight")
    optimizer = Mechanic(keras.optimizers.SGD(rate))
    optimizer.build([weight])
    curvature = tf.constant([1.0, 0.5, 0.2, 0.1])

    @tf.function(autograph=False)
    def step():
        optimizer.apply([curvature * weight.value], [weight])

    for _ in range(300):
        step()
    assert float(tf.reduce_sum(curvature * weight.value**2)) < 0.05
