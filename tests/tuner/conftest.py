"""Searches that train nothing, and models that train in milliseconds."""

import functools
import math

import keras
import keras_tuner
import numpy as np
import pytest

import keras_ext as kx


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


@pytest.fixture(scope="session")
def ended(tmp_path_factory):
    """A search of 20 trials: some stopped, one failed, some without a momentum."""

    class Curves(kx.tuner.Tuner):
        max_epochs = 9

        def run_trial(self, trial, **kwargs):
            hp = trial.hyperparameters
            rate = hp.Float("rate", 1e-4, 0.1, sampling="log")
            momentum = 0.3
            if hp.Choice("kind", ["sgd", "adam"]) == "sgd":
                with hp.conditional_scope("kind", ["sgd"]):
                    momentum = hp.Float("momentum", 0.0, 1.0)
            if trial.trial_id == "05":
                raise ValueError("broken <here>")
            for epoch in range(self.max_epochs):
                loss = (math.log10(rate) + 2) ** 2 + momentum + 3 / (epoch + 1)
                logs = {"val_loss": loss, "other": epoch}
                answer = self.oracle.update_trial(trial.trial_id, logs, step=epoch)
                if answer.status == "STOPPED":
                    break

    oracle = kx.tuner.OptunaOracle("val_loss", 20, seed=0, scheduler=kx.tuner.ASHA())
    folder = tmp_path_factory.mktemp("ended")
    search = Curves(oracle, directory=str(folder))
    search.search(verbose=0)
    return search


@pytest.fixture(scope="session")
def ended_with_two_objectives(tmp_path_factory):
    class Sizes(kx.tuner.Tuner):
        def run_trial(self, trial, **kwargs):
            hp = trial.hyperparameters
            width, dropout = hp.Int("width", 1, 100), hp.Float("dropout", 0.0, 1.0)
            return {"val_loss": 1 / width + dropout, "size": width * (2 - dropout)}

    size = keras_tuner.Objective("size", "min")
    oracle = kx.tuner.OptunaOracle(["val_loss", size], 12, seed=0)
    folder = tmp_path_factory.mktemp("two")
    search = Sizes(oracle, directory=str(folder))
    search.search(verbose=0)
    return search
