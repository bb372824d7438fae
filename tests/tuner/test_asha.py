"""Rungs, against Optuna's successive halving."""

import numpy as np
import optuna
import pytest

import keras_ext as kx


@pytest.mark.parametrize(("grace", "factor"), [(1, 3), (2, 2)])
def test_decisions_are_those_of_optuna(grace, factor):
    """Where nobody is compared with fewer than `factor`, itself included."""
    random = np.random.default_rng(0)
    pruner = optuna.pruners.SuccessiveHalvingPruner(
        min_resource=grace,
        reduction_factor=factor,
        min_early_stopping_rate=0,
        bootstrap_count=factor - 1,
    )
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(pruner=pruner)
    optuna.logging.set_verbosity(verbosity)
    asha = kx.tuner.ASHA(grace, factor=factor)
    compared, stopped = 0, 0
    for name in range(100):
        trial, level = study.ask(), random.normal()
        for epoch in range(1, 17):
            cost = level + random.normal() / epoch
            trial.report(cost, epoch)
            theirs = trial.should_prune()
            assert asha.report(str(name), epoch, cost) == theirs
            compared += 1
            stopped += theirs
            if theirs:
                break
        study.tell(trial, cost)
    assert compared > 150
    assert stopped > 50


@pytest.mark.parametrize(("grace", "factor"), [(1, 3), (2, 2)])
def test_the_first_at_a_rung_go_on_if_few_are_to_come(grace, factor):
    """`factor` squared at this rung, of which `factor` go on, need that many trials."""
    for level in range(3):
        asha = kx.tuner.ASHA(grace, factor=factor)
        rung, needed = grace * factor**level, factor ** (level + 2)
        first = [str(i) for i in range(factor - 1)]
        assert all(asha.report(i, rung, 1.0, left=needed) for i in first)
        asha = kx.tuner.ASHA(grace, factor=factor)
        assert not any(asha.report(i, rung, 1.0, left=needed - 1) for i in first)
        assert asha.report("last", rung, 2.0, left=needed - 1)


def test_what_is_not_finite_is_the_worst_and_does_not_count_after_a_rewind():
    asha = kx.tuner.ASHA(factor=2)
    assert not asha.report("a", 1, 5.0, left=3)
    assert asha.report("b", 1, float("nan"))
    assert not asha.report("c", 2, 1.0, left=1)  # the first at the second rung
    asha.rewind("b", 0)  # it begins anew
    assert not asha.report("b", 1, 4.0)
    assert asha.report("a", 1, 5.0)
    asha.rewind("c", 2)  # after two epochs: the rung stays
    assert asha.report("d", 2, 1.1)


def test_reporting_again_changes_nothing():
    """An interrupted search tells it everything once more."""
    asha = kx.tuner.ASHA(factor=2)
    costs = {"a": 2.0, "b": 1.0, "c": 3.0}
    first = [asha.report(t, 1, cost, left=3) for t, cost in costs.items()]
    assert [asha.report("a", 1, 2.0) for _ in range(5)] == [True] * 5
    assert first == [False, False, True]
    assert not asha.report("d", 1, 0.5)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`factor` must be an integer >= 2"):
        kx.tuner.ASHA(factor=1)
