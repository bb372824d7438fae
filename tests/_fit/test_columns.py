"""What the progress bar shows, and what callbacks have logged."""

import re

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext._fit._copyable_callback import CopyableCallback

X, Y = np.random.default_rng(0).normal(size=(2, 8, 2)).astype("float32")


class Counts(CopyableCallback):
    """Logs two columns, and an array from the second epoch on."""

    def on_epoch_end(self, epoch, logs=None):
        logs["updates"] = 3 * (epoch + 1)
        logs["share"] = 0.5
        if epoch:
            logs["later"] = np.float32(2.0)
            logs["array"] = np.zeros(3)


class Foreign(keras.callbacks.Callback):
    """A callback of somebody else, after ours."""

    def on_epoch_end(self, epoch, logs=None):
        logs["theirs"] = 7


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


@pytest.fixture
def shown():
    yield kx.show_in_progress_bar
    kx.show_in_progress_bar()


def fit(model, *callbacks, **options):
    options = {"epochs": 1, "verbose": 2, **options}
    return model.fit(X, Y, callbacks=list(callbacks), **options)


@pytest.mark.parametrize(
    ("columns", "ours"),
    [
        (True, "updates: 3 - share: 0.5000 - "),
        (False, ""),
        ("upd", "updates: 3 - "),
        (["^share$", "none"], "share: 0.5000 - "),
        (lambda name: len(name) == 5, "share: 0.5000 - "),
    ],
)
def test_columns_of_the_progress_bar(columns, ours, model, shown, capsys):
    shown(columns)
    history = fit(model, Counts(), Foreign()).history
    text = capsys.readouterr().out
    assert re.search(rf"loss: [\d.]+ - {ours}theirs: 7\n", text), text
    assert history["updates"] == [3]
    assert type(history["updates"][0]) is int
    assert history["theirs"] == [7]


def test_without_callbacks_of_ours_it_is_the_bar_of_keras(model, shown, capsys):
    shown(False)
    fit(model, Foreign())
    assert "theirs: 7.0000" in capsys.readouterr().out


def test_no_other_choice(shown):
    with pytest.raises(ValueError, match="`columns` must be a regular expression"):
        shown("(")


def test_what_was_logged_is_kept_until_the_next_fit(model):
    counts = Counts()
    fit(model, counts, epochs=3, initial_epoch=1)
    assert counts.logged["epoch"] == [1, 2]
    assert counts.logged["updates"] == [6, 9]
    fit(model, counts, epochs=2)
    np.testing.assert_equal(
        counts.logged,
        {
            "epoch": [0, 1],
            "updates": [3, 6],
            "share": [0.5, 0.5],
            "later": [np.nan, 2.0],
        },
    )


def test_a_training_that_goes_on_keeps_what_was_logged(model, tmp_path):
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    stop = keras.callbacks.LambdaCallback(on_epoch_begin=interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(model, Counts(), backup, stop, epochs=3)
    counts = Counts()
    fit(model, counts, backup, epochs=3)
    assert counts.logged["updates"] == [3, 6, 9]


def test_callbacks_that_write_the_same_have_both_written_it(model):
    """Small integers are one object: who has written is not seen by what."""
    first, second = Counts(), Counts()
    fit(model, first, second, epochs=2)
    assert second.logged["updates"] == first.logged["updates"] == [3, 6]
    assert second.logged["share"] == [0.5, 0.5]


def test_a_callback_that_saves_has_not_written_what_others_write_then(model, tmp_path):
    class Saves(CopyableCallback):
        def on_epoch_end(self, epoch, logs=None):
            logs |= {"own": 1.0}
            self.model.save(tmp_path / "model.keras")
            assert logs["updates"] == 3  # of those behind, who are called before

    saves, counts = Saves(), Counts()
    history = fit(model, saves, counts).history
    assert saves.logged == {"epoch": [0], "own": [1.0]}
    assert counts.logged["updates"] == history["updates"] == [3]


def interrupt(epoch, logs=None):
    if epoch == 1:
        raise KeyboardInterrupt


def test_the_picture_leaves_out_that_nothing_was_left_out():
    callback = Counts()
    callback.logged = {"epoch": [0, 1], "norm": [2.0, 1.0], "nonfinite_steps": [0, 0]}
    assert [a.get_title() for a in callback.plot().axes] == ["norm"]
    callback.logged = {**callback.logged, "nonfinite_steps": [0, 1]}
    assert len(callback.plot().axes) == 2


def test_the_picture_has_a_panel_for_each_and_marks(model):
    class Marks(Counts):
        def marks(self):
            return {"stopped": 1}

    callback = Marks()
    with pytest.raises(ValueError, match="has logged nothing"):
        callback.plot()
    fit(model, callback, epochs=2, verbose=0)
    figure = callback.plot()
    assert [a.get_title() for a in figure.axes] == ["updates", "share", "later"]
    curve, mark = figure.axes[0].lines
    np.testing.assert_array_equal(curve.get_xydata(), [[1, 3], [2, 6]])
    assert list(mark.get_xdata()) == [2, 2]
    assert mark.get_label() == "stopped"


def test_the_picture_has_a_line_at_the_limit_of_a_column():
    class Limited(Counts):
        def limits(self):
            return {"norm": 1, "not logged": 2}

    callback = Limited()
    callback.logged = {"epoch": [0, 1], "norm": [2.0, 1.5], "other": [2.0, 1.0]}
    norm, other = callback.plot().axes
    assert norm.lines[1].get_label() == "limit"
    np.testing.assert_array_equal(norm.lines[1].get_ydata(), [1, 1])
    assert len(other.lines) == 1
