from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._live._live_value import LiveValue
from keras_ext.optimizers import ScheduleFree
from tests.optimizers.wrappers.followed import FIXTURE, followed, variables
from tests.thorough import LONG


def adamw(rate, **options):
    options = {"beta_1": 0.0, "weight_decay": 0.1, "epsilon": 1e-12, **options}
    return keras.optimizers.AdamW(rate, **options)


MADE = {
    "sgd": lambda: ScheduleFree(
        keras.optimizers.SGD(0.1, weight_decay=0.1), beta=0.8, warmup_steps=7
    ),
    "adamw": lambda: ScheduleFree(adamw(0.05), weight_power=0.5),
    "radam": lambda: ScheduleFree(adamw(0.05, beta_2=0.99), rectify=True),
}


@pytest.mark.parametrize("name", MADE)
def test_follows_the_authors_code_and_shows_the_average(name):
    optimizer, weights = MADE[name](), variables()
    path = followed(optimizer, weights, jit_compile=name == "radam")
    np.testing.assert_allclose(path, FIXTURE[f"schedule_free/{name}/y"], atol=1e-5)
    trained = np.array(weights[0])
    with optimizer.evaluation_weights():
        shown = FIXTURE[f"schedule_free/{name}/x"]
        np.testing.assert_allclose(weights[0], shown, atol=1e-5)
        assert np.abs(shown - trained).max() > 1e-3
    np.testing.assert_array_equal(weights[0], trained)


def test_that_of_keras_is_wrong_on_tensorflow():
    """Fails when Keras is right: then say so in the docstring of `ScheduleFree`."""
    keras_path = followed(keras.optimizers.ScheduleFreeAdamW(0.05, epsilon=1e-12))
    path = followed(ScheduleFree(adamw(0.05, weight_decay=0.0)))
    # By the definition, in NumPy.
    y = z = x = np.float64(FIXTURE["kernel/weight"])
    v = 0.0
    for t, g in enumerate(np.float64(FIXTURE["kernel/gradients"]), 1):
        v = 0.999 * v + 0.001 * g**2
        z = z - 0.05 * g / np.sqrt(v / (1 - 0.999**t))
        x = x + (z - x) / t
        y = 0.1 * z + 0.9 * x
        np.testing.assert_allclose(path[t - 1], y, atol=1e-5)
    assert np.abs(keras_path[-1] - y).max() > 0.05


@pytest.mark.parametrize(
    "inner",
    [
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.optimizers.Adam(0.1),
        keras.optimizers.SGD(0.1, use_ema=True),
    ],
    ids=["momentum", "beta_1", "use_ema"],
)
def test_beta_takes_the_place_of_momentum(inner):
    with pytest.raises(ValueError, match="must be one without momentum and without"):
        ScheduleFree(inner)


def test_only_what_has_a_second_moment_can_be_rectified():
    with pytest.raises(ValueError, match="must be False for an optimizer without"):
        ScheduleFree("sgd", rectify=True)


@pytest.mark.thorough(LONG)
def test_goes_on_where_it_was_from_the_average():
    """As after `fit`, or from a file; only the rounding differs."""
    optimizer, weights = MADE["adamw"](), variables()
    optimizer.build(weights)
    whole = followed(MADE["adamw"]())
    halves = [FIXTURE["kernel/gradients"], FIXTURE["bias/gradients"]]
    followed(optimizer, weights, [g[:25] for g in halves])
    optimizer.show(True)
    path = followed(optimizer, weights, [g[25:] for g in halves])
    np.testing.assert_allclose(path, whole[25:], atol=2e-6)


def test_the_rectification_of_a_compiled_step_follows_beta_2():
    def trained(run):
        inner, weight = adamw(0.1, beta_2=0.9), keras.Variable([1.0])
        live = LiveValue(0.9, "beta_2")
        live.build()
        live.stand_in(partial(setattr, inner, "beta_2"))
        optimizer = ScheduleFree(inner, rectify=True)
        optimizer.build([weight])
        step = run(lambda: optimizer.apply([tf.ones((1,))], [weight]))
        for i in range(12):
            live.assign(0.9 if i < 8 else 0.7)
            step()
        return np.array(weight)

    eager, compiled = trained(lambda step: step), trained(tf.function)
    np.testing.assert_allclose(compiled, eager, rtol=1e-5)
