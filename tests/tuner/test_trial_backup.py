"""Backups, moment by moment."""

import os

import keras
import keras_tuner
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.tuner import _trial_backup
from keras_ext.tuner._results import metrics_of
from keras_ext.tuner._trial_backup import TrialBackup, last_weights, load_all

OBJECTIVE = keras_tuner.Objective("loss", "min")


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture
def backup(tmp_path, model):
    def backup(**arguments):
        made = TrialBackup(
            trial_dir=str(tmp_path),
            checkpoint=str(tmp_path / "best.weights.h5"),
            objective=OBJECTIVE,
            **{"every_epoch": True, **arguments},
        )
        made.set_model(model)
        return made

    return backup


def marked(model, value):
    model.layers[0].bias.assign([value])
    model.optimizer.iterations.assign(int(value))
    return model


def test_the_last_epoch_and_the_best_are_two_files_or_one(tmp_path, model, backup):
    made = backup()
    made.on_train_begin()
    for epoch, loss in enumerate([3.0, 1.0, np.nan, 2.0]):
        marked(model, epoch + 1)
        made.on_epoch_end(epoch, {"loss": loss})
        assert len(os.listdir(tmp_path / "backup")) == 3  # weights, callbacks, state
    load_all(marked(model, 0), str(tmp_path / "best.weights.h5"), "")
    assert (float(model.layers[0].bias[0]), int(model.optimizer.iterations)) == (2.0, 2)
    again = backup()
    assert again.restore(marked(model, 0)) == 4
    assert int(model.optimizer.iterations) == 4
    assert [log["loss"] for log in again.logs[:2]] == [3.0, 1.0]
    again.on_train_begin()
    again.on_epoch_end(4, {"loss": 1.5})  # it knows what was best
    load_all(model, str(tmp_path / "best.weights.h5"), "")
    assert int(model.optimizer.iterations) == 2


@pytest.mark.parametrize(
    ("dies_in", "loss", "committed"),
    [
        ("os.replace", 1.0, 0),  # of the weights
        ("_link", 1.0, 0),  # to the best
        ("write_json", 1.0, 0),
        ("os.remove", 9.0, 1),  # of what is not needed any more
    ],
)
def test_dying_between_any_two_files_leaves_one_epoch_whole(
    model, backup, monkeypatch, dies_in, loss, committed
):
    made = backup()
    made.on_train_begin()
    made.on_epoch_end(0, {"loss": 3.0})
    made.on_epoch_end(1, {"loss": 2.0})
    marked(model, 3)

    def dies(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"{_trial_backup.__name__}.{dies_in}", dies)
        with pytest.raises(KeyboardInterrupt):
            made.on_epoch_end(2, {"loss": loss})
    again = backup()
    assert again.restore(marked(model, 0)) == 2 + committed
    assert len(again.logs) == 2 + committed


def test_a_model_that_writes_nothing_starts_over(tmp_path, model, backup, monkeypatch):
    monkeypatch.setattr(model, "save_weights", lambda path: None)
    made = backup()
    made.on_train_begin()
    made.on_epoch_end(0, {"loss": 1.0})
    assert os.listdir(tmp_path / "backup") == []
    assert backup().restore(model) == 0


def test_results_of_earlier_executions_are_kept(model, backup):
    made = backup()
    made.on_train_begin()
    made.on_epoch_end(0, {"loss": 5.0})
    made.on_epoch_end(1, {"loss": 3.0})
    first = keras.callbacks.History()
    made.end_execution(first)
    assert first.history == {"loss": [5.0, 3.0]}  # whole, whatever `fit` has seen
    made.begin_execution()
    made.on_train_begin()
    made.on_epoch_end(0, {"loss": 4.0})
    again = backup()
    # Of the first execution the best epoch, which was its second.
    assert metrics_of(again.results, OBJECTIVE) == ({"loss": 3.0}, 1)
    assert (again.epoch, again.logs) == (1, [{"loss": 4.0}])


def test_a_second_fit_and_results_of_other_kinds_are_not_gone_on_with(tmp_path, backup):
    made = backup()
    for _ in range(2):
        made.on_train_begin()
        made.on_epoch_end(0, {"loss": 3.0})
    assert last_weights(str(tmp_path)) is None
    made.end_execution(object())
    made.begin_execution()
    made.on_train_begin()
    made.on_epoch_end(0, {"loss": 3.0})
    assert last_weights(str(tmp_path)) is None


def test_where_there_are_no_links_files_are_copied(
    tmp_path, model, backup, monkeypatch
):
    def none(*args):
        raise OSError("not here")

    monkeypatch.setattr(_trial_backup.os, "link", none)
    made = backup()
    made.on_train_begin()
    made.on_epoch_end(0, {"other": 3.0})  # without the objective, each is the best
    assert sorted(os.listdir(tmp_path)) == [
        "backup",
        "best.weights.h5",
        "build_config.json",
    ]


def test_epochs_without_validation_are_not_the_best(build, data, tmp_path):
    x, y = data["x"], data["y"]
    seen = []

    class Biases(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            bias = float(self.model.layers[-1].bias[0])
            seen.append((logs.get("val_loss", np.inf), epoch, bias))

    search = kx.tuner.RandomSearch(build, "val_loss", 1, seed=0)
    search._deepcopy_callbacks = list
    validation = {"validation_data": (x, -y), "validation_freq": 2}
    options = {"epochs": 5, "callbacks": [Biases()], "verbose": 0}
    search.search(**data, **validation, **options)
    (trial,) = search.oracle.trials.values()
    loss, epoch, bias = min(seen)
    assert (trial.status, trial.best_step) == ("COMPLETED", epoch)
    assert trial.score == pytest.approx(loss)
    assert float(search.get_best_models()[0].layers[-1].bias[0]) == bias
