"""Searches by the model: what it finds, what it is told, and interruptions."""

import math

import numpy as np
import pytest

import keras_ext as kx
from keras_ext.tuner._encoded_space import EncodedSpace
from tests.thorough import LONG
from tests.tuner.functions import cliff, few, valley


def branin(hp):
    """Three minima of 0.3979."""
    x, y = hp.Float("x", -5.0, 10.0), hp.Float("y", 0.0, 15.0)
    curve = y - 5.1 * x**2 / (4 * math.pi**2) + 5 * x / math.pi - 6
    return curve**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def run(searching, function, count, **arguments):
    arguments = {"seed": 0, "num_initial_points": 6, **arguments}
    oracle = kx.tuner.GaussianProcessOracle(None, count, **arguments)
    searching(kx.tuner.Tuner, function)(oracle, project_name="p").search(verbose=0)
    return oracle


@pytest.mark.thorough(LONG)
def test_a_smooth_function_is_searched_down_to_its_minimum(searching):
    """Random search of KerasTuner comes to 0.9 with as many trials."""
    oracle = run(searching, branin, 40)
    assert oracle.get_best_trials()[0].score < 0.42


def test_what_is_active_is_proposed_and_what_is_found_on_the_way_is_searched(searching):
    oracle = run(searching, valley, 24)
    values = [t.hyperparameters.values for t in oracle.trials.values()]
    assert all(("n" in v) == (v["kind"] == "b") for v in values)
    assert {v["kind"] for v in values[:6]} == {"a", "b"}
    scores = [t.score for t in oracle.trials.values()]
    assert np.mean(scores[-10:]) < 0.7 * np.mean(scores[:6])
    assert min(scores) < 0.3
    assert len(oracle._fitted[0]) == 4 + 2  # for `n`, too, once it was found


def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(
    searching, tmp_path, monkeypatch
):
    whole = run(searching, valley, 14)
    (tmp_path / "again").mkdir()
    monkeypatch.chdir(tmp_path / "again")
    run(searching, valley, 9)
    again = run(searching, valley, 14)
    one, other = (
        [t.hyperparameters.values for t in oracle.trials.values()]
        for oracle in (whole, again)
    )
    assert one == other
    assert whole._fitted == again._fitted


def test_it_keeps_away_from_failures(searching):
    """On stock 1.4.8, 14 of the last 15 fail."""
    oracle = run(searching, cliff, 20, max_consecutive_failed_trials=9)
    failed = [t.status == "FAILED" for t in oracle.trials.values()]
    assert any(failed[:6])
    assert sum(failed[-10:]) <= 4


def test_nothing_is_tried_twice_and_a_space_ends(searching):
    oracle = run(searching, few, None)
    values = [str(t.hyperparameters.values) for t in oracle.trials.values()]
    assert len(values) == len(set(values)) == 6


def test_trials_that_run_at_once_are_apart(searching):
    oracle = run(searching, branin, 12)
    oracle.max_trials = None
    found = [oracle.create_trial(f"tuner{i}").hyperparameters for i in range(4)]
    points = np.array([[hp.get("x"), hp.get("y")] for hp in found]) / 15
    gaps = np.linalg.norm(points[:, None] - points, axis=2) + np.eye(4)
    assert gaps.min() > 0.005


def test_the_model_sees_the_best_so_far_at_rungs_and_at_the_end(tmp_path):
    """Also of a trial that runs, and of one that has failed the worst of all."""
    oracle = kx.tuner.GaussianProcessOracle("accuracy", None, seed=0)
    oracle.hyperparameters.Float("x", 0.0, 1.0)
    oracle._set_project_dir(str(tmp_path), "p")
    oracle.verbose = 0
    trials = [oracle.create_trial(f"tuner{i}") for i in range(3)]
    for step, accuracy in enumerate([0.3, math.nan, 0.6, 0.5, 0.4]):
        oracle.update_trial(trials[0].trial_id, {"accuracy": accuracy}, step=step)
    oracle.update_trial(trials[1].trial_id, {"accuracy": math.nan}, step=0)
    oracle.update_trial(trials[2].trial_id, {"accuracy": 0.2}, step=0)
    trials[0].status, trials[1].status = "COMPLETED", "INVALID"
    for trial in trials[:2]:
        oracle.end_trial(trial)
    rows = oracle._rows(EncodedSpace(oracle.hyperparameters.space))
    places = [trial.hyperparameters.get("x") for trial in trials]
    assert [(row.place[0], row.epochs, row.cost) for row in rows] == [
        (places[0], 1, -0.3),
        (places[0], 3, -0.6),
        (places[0], 5, -0.6),
        (places[2], 1, -0.2),
        (places[1], 5, -0.2),
    ]


@pytest.mark.parametrize(("limit", "expected"), [(None, 6), (8, 4), (100, 6)])
def test_how_many_points_come_before_the_model(limit, expected):
    oracle = kx.tuner.GaussianProcessOracle("loss", limit)
    for name in "xy":
        oracle.hyperparameters.Float(name, 0.0, 1.0)
    assert (
        oracle._initial_points(EncodedSpace(oracle.hyperparameters.space)) == expected
    )


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`num_initial_points` must be an integer"):
        kx.tuner.GaussianProcessOracle("loss", num_initial_points=0)
    with pytest.raises(ValueError, match="`objective` must be a single objective"):
        kx.tuner.GaussianProcessOracle(["loss", "accuracy"])
