"""Medians, against Optuna's rule."""

import numpy as np
import optuna

import keras_ext as kx


def test_decisions_are_those_of_optuna():
    random = np.random.default_rng(0)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # To them, a step is warm up to it; to us, an epoch is grace.
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(4, 3))
    optuna.logging.set_verbosity(verbosity)
    rule = kx.tuner.MedianStopping(2, grace_trials=4)
    stopped = 0
    for name in range(40):
        trial, level = study.ask(), random.normal()
        ends = name % 3 == 0  # Optuna compares only with what was not stopped
        for epoch in range(1, 9):
            cost = level + random.normal() / epoch
            trial.report(cost, epoch)
            stops = rule.report(str(name), epoch, cost)
            assert stops == trial.should_prune()
            stopped += stops
        if ends:
            study.tell(trial, cost)
            rule.end(str(name))
    assert 30 < stopped < 200


def test_a_trial_that_is_run_again_is_compared_with_the_others_alone():
    rule = kx.tuner.MedianStopping(0, grace_trials=1)
    rule.report("a", 1, 1.0)
    rule.end("a")
    assert rule.report("b", 1, 2.0)
    rule.end("b")
    rule.rewind("a", 0)
    assert not rule.report("a", 1, 2.0)
    assert rule.report("c", 1, float("nan"))  # the worst
