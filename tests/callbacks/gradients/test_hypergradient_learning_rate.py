import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks import HypergradientLearningRate
from tests.thorough import MATRIX

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = X[:, :1]


def make_model(optimizer, **options):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4, name="a"), keras.layers.Dense(1, name="b")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer, "mse", **options)
    return model


def fit(model, *callbacks, epochs=3):
    options = {"batch_size": 8, "epochs": epochs, "verbose": 0, "shuffle": False}
    return model.fit(X, Y, callbacks=list(callbacks), **options).history


def test_shrinks_a_rate_that_is_too_large():
    """One that is too small grows in the example of the docstring."""
    model = make_model(keras.optimizers.SGD(0.6))
    shrunk = fit(model, HypergradientLearningRate(0.1))
    assert shrunk["learning_rate_multiplier"][-1] < 0.97
    assert float(model.optimizer.learning_rate) == pytest.approx(0.6)


@pytest.mark.thorough(MATRIX)
@pytest.mark.parametrize("way", ["two replicas", "XLA", "eager"])
def test_replicas_and_ways_to_run_make_no_difference(strategies, way):
    results = []
    for special in (False, True):
        options = {}
        if special and way != "two replicas":
            options = {"jit_compile": True} if way == "XLA" else {"run_eagerly": True}
        with strategies(2 if special and way == "two replicas" else 1).scope():
            model = make_model(keras.optimizers.Adam(kx.schedules.Rex(0.01, 99)))
            if options:
                model.compile(model.optimizer, "mse", **options)
        adapt = HypergradientLearningRate(0.1, per="layer")
        fit(model, adapt, epochs=2)
        assert [name[-2:] for name in adapt.multipliers] == ["/a", "/b"]
        results.append([*model.get_weights(), list(adapt.multipliers.values())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.thorough(MATRIX)
def test_without_a_step_it_changes_nothing():
    weights = []
    for callbacks in ([], [HypergradientLearningRate(0.0)]):
        model = make_model(keras.optimizers.Adam(0.01))
        fit(model, *callbacks)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_does_not_go_with_averages():
    model = make_model(keras.optimizers.SGD(0.1, use_ema=True))
    with pytest.raises(ValueError, match="use_ema"):
        fit(model, HypergradientLearningRate())


def test_there_is_no_multiplier_before_a_fit():
    assert HypergradientLearningRate().multipliers == {}
