"""Promotions, with the state of what is promoted."""

import keras
import pytest

import keras_ext as kx


def test_a_promoted_trial_goes_on_with_its_optimizer(build, data):
    """On stock 1.4.8 with a new one: Keras skips what is not built, and warns."""
    began = {}

    class Began(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            began.setdefault(epoch, set()).add(int(self.model.optimizer.iterations))

    search = kx.tuner.Hyperband(build, "loss", 2, factor=2, seed=0)
    search.search(**data, verbose=0, callbacks=[Began()])
    assert began == {0: {0}, 1: {1}}
    trials = search.oracle.trials.values()
    promoted = [t for t in trials if "tuner/trial_id" in t.hyperparameters.values]
    assert len(promoted) == 1
    for trial in promoted:
        values = trial.hyperparameters.values
        steps = [o.step for o in trial.metrics.get_history("loss")]
        first, last = values["tuner/initial_epoch"], values["tuner/epochs"]
        assert steps == list(range(first, last))
        assert trial.best_step in steps
        parent = search.oracle.trials[values["tuner/trial_id"]]
        assert parent.hyperparameters.get("rate") == trial.hyperparameters.get("rate")
    best = search.get_best_models()[0]
    assert int(best.optimizer.iterations) == 2


def test_arguments_are_checked(build):
    with pytest.raises(ValueError, match="`factor` must be an integer >= 2"):
        kx.tuner.Hyperband(build, "loss", factor=1)
    with pytest.raises(ValueError, match="must be a single objective"):
        kx.tuner.Hyperband(build, ["loss", "accuracy"])
