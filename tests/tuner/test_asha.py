"""Rungs, against Optuna's successive halving."""

import numpy as np
import optuna
import pytest

import keras_ext as kx


@pytest.mark.parametrize(("grace", "factor"), [(1, 3), (2, 2)])
def test_decisions_are_those_of_optuna_once_a_rung_has_enough(grace, factor):
    random = np.random.default_rng(0)
    pruner = optuna.pruners.SuccessiveHalvingPruner(
        min_resource=grace, reduction_factor=factor, min_early_stopping_rate=0
    )
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(pruner=pruner)
    optuna.logging.set_verbosity(verbosity)
    asha = kx.tuner.ASHA(grace, factor=factor)
    reached, compared, stopped = {}, 0, 0
    for name in range(60):
        trial, level = study.ask(), random.normal()
        for epoch in range(1, 17):
            cost = level + random.normal() / epoch
            trial.report(cost, epoch)
            ours, theirs = asha.report(str(name), epoch, cost), trial.should_prune()
            reached[epoch] = reached.get(epoch, 0) + 1
            # Of the first at a rung, Optuna stops all but the best.
            assert ours is False or theirs
            if reached[epoch] >= factor:
                assert ours == theirs
                compared += 1
                stopped += ours
            if theirs:
                break
        study.tell(trial, cost)
    assert compared > 60
    assert stopped > 20


def test_what_is_not_finite_is_the_worst_and_does_not_count_after_a_rewind():
    asha = kx.tuner.ASHA(factor=2)
    assert not asha.report("a", 1, 5.0)
    assert asha.report("b", 1, float("nan"))
    assert not asha.report("c", 2, 1.0)  # the first at the second rung
    asha.rewind("b", 0)  # it begins anew
    assert not asha.report("b", 1, 4.0)
    assert asha.report("a", 1, 5.0)
    asha.rewind("c", 2)  # after two epochs: the rung stays
    assert asha.report("d", 2, 1.1)


def test_reporting_again_changes_nothing():
    """An interrupted search tells it everything once more."""
    asha = kx.tuner.ASHA(factor=2)
    costs = {"a": 2.0, "b": 1.0, "c": 3.0}
    first = [asha.report(t, 1, cost) for t, cost in costs.items()]
    assert [asha.report("a", 1, 2.0) for _ in range(5)] == [True] * 5
    assert first == [False, False, True]
    assert not asha.report("d", 1, 0.5)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`factor` must be an integer >= 2"):
        kx.tuner.ASHA(factor=1)
