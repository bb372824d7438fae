"""Searches that train nothing, and models that train in milliseconds."""

import functools

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def searching():
    """Returns a function that makes the class of a search of a function of `hp`."""

    @functools.cache
    def searching(tuner, function):
        class Searching(tuner):
            def run_trial(self, trial, **kwargs):
                return function(trial.hyperparameters)

        return Searching

    return searching


@pytest.fixture
def build():
    """A model of one layer, whose learning rate is searched."""

    def build(hp):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        rate = hp.Float("rate", 1e-3, 0.1, sampling="log")
        model.compile(keras.optimizers.SGD(rate, 0.9), "mse", run_eagerly=True)
        return model

    return build


@pytest.fixture(scope="session")
def data():
    x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
    return {"x": x, "y": x.sum(axis=1, keepdims=True), "batch_size": 8}
