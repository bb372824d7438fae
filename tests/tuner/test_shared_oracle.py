"""Trials that change hands. With workers that ask: see `test_chief.py`."""

import keras_ext as kx


def an_oracle():
    oracle = kx.tuner.OptunaOracle("loss", 3, seed=0)
    oracle.hyperparameters.Float("x", 0.0, 1.0)
    oracle._set_project_dir(".", "project")
    return oracle


def test_a_released_trial_is_the_next_and_belongs_to_who_gets_it():
    oracle = an_oracle()
    trial = oracle.create_trial("a")
    mark = oracle.progress_mark()
    assert oracle.release("b") is None
    assert oracle.release("a") == trial.trial_id
    assert oracle.is_idle()
    assert oracle.progress_mark() != mark
    assert oracle.create_trial("b") is trial
    assert oracle.belongs(trial.trial_id, "b")
    assert not oracle.belongs(trial.trial_id, "a")
    assert not oracle.belongs("unknown", "a")


def test_what_nobody_has_belongs_to_who_speaks_of_it():
    oracle = an_oracle()
    trial = oracle.create_trial("a")
    oracle.release("a")
    assert oracle.belongs(trial.trial_id, "a")
    assert oracle.ongoing_trials == {"a": trial}
    # It is not given a second time.
    assert oracle.create_trial("b").trial_id != trial.trial_id
