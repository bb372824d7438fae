"""Samplers of Optuna behind an oracle."""

import statistics
import sys

import keras_tuner
import optuna
import pytest

import keras_ext as kx
from tests.thorough import LONG, STATISTICS
from tests.tuner.functions import cliff, few, valley

SAMPLERS = ("tpe", "nsga2", "nsga3", "qmc", "random")


def run(searching, function=valley, count=12, objective=None, **arguments):
    oracle = kx.tuner.OptunaOracle(objective, count, **{"seed": 0, **arguments})
    search = searching(kx.tuner.Tuner, function)(oracle, project_name="project")
    search.search(verbose=0)
    return oracle


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_proposes_what_is_active_and_is_told_the_results(
    searching, sampler
):
    oracle = run(searching, sampler=sampler)
    assert len(oracle.trials) == 12
    for trial in oracle.trials.values():
        values = trial.hyperparameters.values
        assert ("n" in values) == (values["kind"] == "b")
    told = [t.value for t in oracle._study.trials if t.value is not None]
    assert told == [oracle.trials[i].score for i in oracle.end_order]


def test_a_trial_that_finds_the_space_has_it(searching):
    """Some samplers search what all trials have, and otherwise draw at random."""

    def bowl(hp):
        return hp.Float("x", -1.0, 1.0) ** 2 + hp.Float("y", -1.0, 1.0) ** 2

    oracle = run(searching, bowl, sampler="cmaes")
    told = [trial for trial in oracle._study.trials if trial.value is not None]
    assert all(set(trial.params) == {"x", "y"} for trial in told)
    # What CMA-ES notes of a proposal that is its own.
    assert any(key.startswith("cma:") for key in told[-1].system_attrs)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
@pytest.mark.thorough(LONG)
def test_an_interrupted_search_goes_on_with_all_that_it_knew(searching, sampler):
    first = run(searching, sampler=sampler)
    again = run(searching, sampler=sampler, count=16)
    assert len(again.trials) == 16
    before = [t for t in first._study.trials if t.value is not None]
    for one, other in zip(before, again._study.trials[:12], strict=True):
        assert one.values == other.values
        assert one.params == other.params
        if sampler == "nsga2":
            assert one.system_attrs == other.system_attrs
    values = [str(t.hyperparameters.values) for t in again.trials.values()]
    assert len(set(values)) == 16  # its draws are others than those of the first


def test_the_same_seed_gives_the_same_search(searching, tmp_path, monkeypatch):
    found = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        found.append([t.score for t in run(searching).trials.values()])
    assert found[0] == found[1]


def test_failures_are_told_as_the_worst_that_was_seen(searching):
    """On stock 1.4.8 nothing is, and the same is proposed again."""
    oracle = run(searching, cliff, 12)
    failed = [t for t in oracle.trials.values() if t.status == "FAILED"]
    finite = [t.score for t in oracle.trials.values() if t.status == "COMPLETED"]
    assert len(failed) > 1
    told = [t.value for t in oracle._study.trials if t.params.get("x", 1) < 0.5]
    assert all(value is None or value in finite for value in told)
    assert any(value is not None for value in told)


def test_nothing_is_tried_twice_and_a_space_ends(searching):
    oracle = run(searching, few, None)
    values = [str(t.hyperparameters.values) for t in oracle.trials.values()]
    assert len(values) == len(set(values)) == 6


def both(hp):
    x = hp.Float("x", 0.0, 1.0)
    return {"loss": x, "size": (1 - x) ** 2}


def test_several_objectives_have_a_front_that_survives(searching):
    objectives = ["loss", keras_tuner.Objective("size", "min")]
    oracle = run(searching, both, 8, objectives, sampler="nsga2")
    assert len(oracle.pareto_trials()) == 8  # less of one is more of the other
    again = run(searching, both, 8, objectives, sampler="nsga2")
    values = [tuple(t.values) for t in again._study.trials]
    assert values == [
        (t.metrics.get_last_value("loss"), t.metrics.get_last_value("size"))
        for t in oracle.trials.values()
    ]


def test_samplers_of_optuna_and_their_names(monkeypatch):
    own = optuna.samplers.RandomSampler(seed=0)
    assert kx.tuner.OptunaOracle("loss", sampler=own).sampler is own
    with pytest.raises(ValueError, match='`sampler` must be "tpe", "cmaes"'):
        kx.tuner.OptunaOracle("loss", sampler="gp")
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(ImportError, match="This needs cmaes"):
        kx.tuner.OptunaOracle("loss", sampler="cmaes")


def test_verbosity_of_optuna_stays_as_it_is():
    before = optuna.logging.get_verbosity()
    kx.tuner.OptunaOracle("loss")
    assert optuna.logging.get_verbosity() == before


@pytest.mark.thorough(STATISTICS)
def test_tpe_ends_lower_than_random(searching, tmp_path, monkeypatch):
    medians = []
    for sampler in ("random", "tpe"):
        best = []
        for seed in range(8):
            (tmp_path / f"{sampler}{seed}").mkdir()
            monkeypatch.chdir(tmp_path / f"{sampler}{seed}")
            oracle = run(searching, sampler=sampler, count=40, seed=seed)
            best.append(oracle.get_best_trials()[0].score)
        medians.append(statistics.median(best))
    assert medians[1] < 0.7 * medians[0]
