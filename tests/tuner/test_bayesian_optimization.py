"""The Gaussian process of KerasTuner, and what it is told."""

import math
import warnings

import keras_tuner
import pytest

import keras_ext as kx
from tests.thorough import STATISTICS


def cliff(hp):
    """Infinite on one half, and best at its edge."""
    x = hp.Float("x", 0.0, 1.0)
    return math.inf if x < 0.5 else 1.0 + (x - 0.5)


def run(searching, tuner, function, count, points=4, **arguments):
    search = searching(tuner, function)(
        max_trials=count,
        seed=2,
        num_initial_points=points,
        project_name=tuner.__module__,
        **arguments,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn, within the stock class
        search.search(verbose=0)
    return search


@pytest.mark.thorough(STATISTICS)
def test_infinite_objectives_attract_stock_and_repel_this(searching):
    shares = []
    for tuner in (keras_tuner.BayesianOptimization, kx.tuner.BayesianOptimization):
        search = run(searching, tuner, cliff, 10)
        trials = list(search.oracle.trials.values())[4:]
        shares.append(sum(t.hyperparameters.get("x") < 0.5 for t in trials))
    assert shares[0] >= 4  # of 6
    assert shares[1] <= 2


def test_failures_count_as_the_worst_that_was_seen(searching):
    search = run(searching, kx.tuner.BayesianOptimization, cliff, 6, points=6)
    oracle = search.oracle
    x, y = oracle._vectorize_trials()
    assert len(x) == len(y) == 6
    done = [t.score for t in oracle.trials.values() if t.status == "COMPLETED"]
    assert max(y) == max(done)
    assert sum(y == max(done)) == 1 + 6 - len(done)


def few(hp):
    return float(hp.Choice("a", [0, 1]) + hp.Choice("b", [0, 1]))


def test_nothing_is_tried_twice(searching, monkeypatch):
    """On stock 1.4.8 the best is proposed again and again, as here always."""
    again = {"status": "RUNNING", "values": {"a": 0, "b": 0}}
    stock = keras_tuner.oracles.BayesianOptimizationOracle
    monkeypatch.setattr(stock, "populate_space", lambda self, trial_id: dict(again))
    search = run(searching, kx.tuner.BayesianOptimization, few, 6)
    values = [str(t.hyperparameters.values) for t in search.oracle.trials.values()]
    assert len(values) == len(set(values)) == 4


@pytest.mark.parametrize(("max_trials", "points"), [(10, 5), (30, 9), (None, 9)])
def test_of_few_trials_not_all_are_random(build, max_trials, points):
    """On stock 1.4.8, 10 trials of four hyperparameters are a random search."""
    space = keras_tuner.HyperParameters()
    for name in "abc":
        space.Float(name, 0.0, 1.0)
    search = kx.tuner.BayesianOptimization(
        build, "loss", max_trials, hyperparameters=space, allow_new_entries=False
    )
    assert search.oracle._default_initial_points() == points
