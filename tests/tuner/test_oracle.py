"""What an oracle decides, and how it fails."""

import math
import threading

import keras_tuner
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.tuner._random_search import RandomSearchOracle

STOCK = keras_tuner.oracles.RandomSearchOracle


def space(floats=2):
    hp = keras_tuner.HyperParameters()
    for i in range(floats):
        hp.Float(f"x{i}", 0.0, 1.0)
    return hp


def configurations(kind, seed, directory, floats=2, count=20):
    oracle = kind("loss", max_trials=count, hyperparameters=space(floats), seed=seed)
    oracle._set_project_dir(str(directory), f"{kind.__module__}{seed}")
    oracle._display.verbose = 0
    for _ in range(count):
        trial = oracle.create_trial("tuner0")
        oracle.update_trial(trial.trial_id, {"loss": 1.0})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    trials = oracle.trials.values()
    return [tuple(t.hyperparameters.values.values()) for t in trials]


def test_stock_gives_neighbouring_seeds_the_same_and_these_share_none(tmp_path):
    """On stock 1.4.8, seeds 1 and 3 share 19 of 20 configurations of two values."""
    shared = [
        len(set(configurations(k, 1, tmp_path)) & set(configurations(k, 3, tmp_path)))
        for k in (STOCK, RandomSearchOracle)
    ]
    assert shared == [19, 0]


def test_seed_0_is_a_seed(tmp_path):
    """On stock 1.4.8 it is replaced by a random one."""
    oracles = [STOCK("loss", seed=0).seed for _ in range(2)]
    assert 0 not in oracles
    first = configurations(RandomSearchOracle, 0, tmp_path / "a")
    assert first == configurations(RandomSearchOracle, 0, tmp_path / "b")
    seeds = {RandomSearchOracle("loss").seed for _ in range(5)}
    assert len(seeds) > 1  # None is random


def test_a_hyperparameter_that_is_added_changes_nothing_of_the_others(tmp_path):
    two = configurations(RandomSearchOracle, 0, tmp_path / "a")
    three = configurations(RandomSearchOracle, 0, tmp_path / "b", floats=3)
    assert [values[:2] for values in three] == two


def finish(oracle, value=None, status="COMPLETED", **more):
    trial = oracle.create_trial("tuner0")
    if value is not None:
        oracle.update_trial(trial.trial_id, {oracle.objective.name: value, **more})
    trial.status = status
    oracle.end_trial(trial)
    return oracle.trials[trial.trial_id]


@pytest.fixture
def make(tmp_path):
    def make(objective="loss", kind=RandomSearchOracle, **arguments):
        oracle = kind(objective, 20, hyperparameters=space(), seed=0, **arguments)
        oracle._set_project_dir(str(tmp_path), "project")
        oracle._display.verbose = 0
        return oracle

    return make


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_an_objective_that_is_not_finite_is_a_failure_with_its_cause(make, value):
    """On stock 1.4.8, an infinite one is completed, and may be the best."""
    oracle = make()
    assert finish(oracle, 1.0).status == "COMPLETED"
    failed = finish(oracle, value)  # stock warns: All-NaN axis encountered
    assert failed.status == "FAILED"
    assert failed.message == f"The objective `loss` was {value}."
    assert oracle.get_best_trials()[0].score == 1.0


def test_of_epochs_the_best_finite_one_counts(make):
    oracle = make("accuracy")
    trial = oracle.create_trial("tuner0")
    for step, value in enumerate([0.5, math.inf, 0.7, math.nan, 0.6]):
        oracle.update_trial(trial.trial_id, {"accuracy": value}, step=step)
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    assert (trial.score, trial.best_step) == (0.7, 2)


def test_trials_that_diverge_end_no_search_that_works(make):
    """On stock 1.4.8 three in a row do."""
    oracle = make()
    finish(oracle, 1.0)
    for _ in range(5):
        finish(oracle, math.nan)
    finish(oracle, status="FAILED")
    finish(oracle, status="FAILED")
    with pytest.raises(RuntimeError, match="exceeded the limit of 3"):
        finish(oracle, status="FAILED")


def test_trials_that_all_diverge_do_and_no_lock_is_left_behind(make):
    """On stock 1.4.8 the next call, in another thread, waits for ever."""
    oracle = make()
    finish(oracle, math.nan)
    finish(oracle, math.nan)
    with pytest.raises(RuntimeError, match="The objective `loss` was nan"):
        finish(oracle, math.nan)
    assert oracle.ongoing_trials == {}  # in order when it raises
    thread = threading.Thread(target=lambda: finish(oracle, 1.0), daemon=True)
    thread.start()
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_metrics_whose_direction_is_not_known_are_recorded(make):
    """On stock 1.4.8 `val_mean_io_u` raises a TypeError."""
    oracle = make()
    trial = finish(oracle, 1.0, val_mean_io_u=0.5, mine=2.0)
    assert trial.metrics.get_direction("val_mean_io_u") == "max"
    assert trial.metrics.get_direction("mine") == "min"


BOTH = [keras_tuner.Objective(name, "min") for name in ("error", "parameters")]


def test_several_objectives_have_a_front_and_its_middle_comes_first(make):
    """On stock 1.4.8 the best trial is that with the fewest parameters."""
    oracle = make(BOTH)
    for error, parameters in [(0.05, 9000), (0.24, 600), (0.1, 1000), (0.3, 9500)]:
        trial = oracle.create_trial("tuner0")
        metrics = {"error": error, "parameters": parameters}
        metrics["multi_objective"] = error + parameters
        oracle.conclude(trial.trial_id, metrics, 0)
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    front = [t.metrics.get_last_value("error") for t in oracle.pareto_trials()]
    assert front == [0.05, 0.24, 0.1]
    best = oracle.get_best_trials(4)
    assert best[-1].metrics.get_last_value("error") == 0.3
    with pytest.raises(ValueError, match="`scheduler` must be None with several"):
        make(BOTH, scheduler=kx.tuner.ASHA())


def test_a_trial_is_told_to_stop_and_stays_running_until_it_ends(make):
    oracle = make("accuracy", scheduler=kx.tuner.ASHA(factor=2))
    finish(oracle, 0.9)
    trial = oracle.create_trial("tuner0")
    answer = oracle.update_trial(trial.trial_id, {"accuracy": 0.5})
    assert (answer.status, trial.status) == ("STOPPED", "RUNNING")
    oracle.rewind(trial.trial_id, 0)
    assert trial.metrics.get_history("accuracy") == []
    assert oracle.update_trial(trial.trial_id, {"accuracy": 0.95}).status == "RUNNING"


def test_the_scheduler_hears_how_many_trials_are_to_come(make):
    class Never(kx.tuner.MedianStopping):
        def report(self, trial, epoch, cost, *, left=None):
            heard.append(left)
            return False

    heard = []
    oracle = make(scheduler=Never())
    for worker, limit in enumerate((20, 3, 3, None)):
        oracle.max_trials = limit
        oracle.create_trial(f"tuner{worker}")
        oracle.update_trial(oracle.start_order[-1], {"loss": 1.0})
    assert heard == [19, 1, 0, None]


def test_only_the_first_execution_of_a_trial_is_stopped(make):
    """Others begin with the first epoch again, which others have behind them."""
    asha = kx.tuner.ASHA(factor=2)
    oracle = make(scheduler=asha)
    oracle.max_trials = 2
    trials = [oracle.create_trial(f"tuner{i}") for i in range(2)]
    told = [[], []]
    for _ in range(2):
        for trial, told_one, losses in zip(
            trials, told, ([0.4, 0.3], [0.5, 0.1]), strict=True
        ):
            for step, loss in enumerate(losses):
                answer = oracle.update_trial(trial.trial_id, {"loss": loss}, step=step)
                told_one.append(answer.status)
    assert told == [["RUNNING"] * 4, ["STOPPED", *["RUNNING"] * 3]]
    again = make(scheduler=kx.tuner.ASHA(factor=2))
    again.reload()
    assert again.scheduler._rungs == asha._rungs


def test_a_time_budget_ends_the_search_also_after_an_interruption(make):
    oracle = make(time_budget=60)
    finish(oracle, 1.0)
    state = oracle.get_state()
    assert 0 < state["seconds"] < 60
    oracle.set_state({**state, "seconds": 61})
    assert oracle.create_trial("tuner0").status == "STOPPED"
    assert len(oracle.trials) == 1


def test_the_result_counts_whatever_the_epochs_have_said(make):
    oracle = make()
    trial = oracle.create_trial("tuner0")
    oracle.update_trial(trial.trial_id, {"loss": 0.1}, step=0)
    oracle.conclude(trial.trial_id, {"loss": 0.5, "other": 2.0}, 3)
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    assert (trial.score, trial.best_step) == (0.5, 3)
    assert [o.value for o in trial.metrics.get_history("loss")] == [[0.1]]
    assert trial.metrics.get_last_value("other") == 2.0


def test_no_configuration_comes_twice_and_a_space_ends(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Choice("a", [1, 2, 3])
    oracle = RandomSearchOracle("loss", None, hyperparameters=hp, seed=0)
    oracle._set_project_dir(str(tmp_path), "project")
    oracle._display.verbose = 0
    seen = [finish(oracle, 1.0).hyperparameters.get("a") for _ in range(3)]
    assert sorted(seen) == [1, 2, 3]
    assert oracle.create_trial("tuner0").status == "STOPPED"


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`scheduler` must be kx.tuner.ASHA"):
        kx.tuner.Oracle("loss", scheduler="asha")

    class Old:
        """Of before a scheduler heard how many trials are to come."""

        def report(self, trial, epoch, cost): ...

        def rewind(self, trial, epoch): ...

        def end(self, trial): ...

    with pytest.raises(ValueError, match="`scheduler` must be .* with their methods"):
        kx.tuner.Oracle("loss", scheduler=Old())
    with pytest.raises(ValueError, match="`hyperparameters` must be"):
        kx.tuner.Oracle("loss", hyperparameters={"a": 1})
    assert np.isfinite(kx.tuner.Oracle("loss", time_budget=3).time_budget)


def test_a_trial_may_be_ended_by_its_name():
    oracle = kx.tuner.OptunaOracle("loss", 3, seed=0)
    oracle.hyperparameters.Float("x", 0.0, 1.0)
    oracle._set_project_dir(".", "project")
    for status, expected in (("COMPLETED", "COMPLETED"), ("INVALID", "FAILED")):
        trial = oracle.create_trial("tuner")
        oracle.update_trial(trial.trial_id, {"loss": 1.0})
        oracle.end_trial(trial.trial_id, status)
        assert oracle.trials[trial.trial_id].status == expected
