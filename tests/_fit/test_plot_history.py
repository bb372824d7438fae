"""The picture of a training."""

import keras
import numpy as np
import pytest

import keras_ext as kx

COLUMNS = {
    "loss": [1.0, 0.5, 0.25, 0.2],
    "val_loss": [1.1, 0.6, 0.5, 0.55],
    "batch_size": [8, 8, 16, 16],
    "matrix": [np.eye(2)] * 4,
}


def history(**columns):
    made = keras.callbacks.History()
    made.history, made.epoch = columns, [2, 3, 4, 5]
    return made


def curves(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


def test_training_and_validation_are_in_one_panel():
    loss, size = kx.plot_history(history(**COLUMNS)).axes
    assert (loss.get_title(), size.get_title()) == ("loss", "batch_size")
    training, validation = curves(loss).values()
    assert list(curves(loss)) == ["training", "validation"]
    # From 1, as the progress bar counts.
    assert training == [[3, 1.0], [4, 0.5], [5, 0.25], [6, 0.2]]
    assert validation[-1] == [6, 0.55]


def test_several_trainings_have_a_color_each():
    two = {"plain": COLUMNS, "ours": history(loss=[3.0, 2.0, 1.0, 0.5])}
    figure = kx.plot_history(two, include="loss")
    (axes,) = figure.axes
    (validation,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    colors = {line.get_label(): line.get_color() for line in axes.lines}
    assert validation.get_color() == colors["plain"] != colors["ours"]


def test_validation_every_second_epoch():
    figure = kx.plot_history(history(loss=[1.0] * 4, val_loss=[2.0, 3.0]))
    assert curves(figure.axes[0])["validation"] == [[4, 2.0], [6, 3.0]]


def test_validation_of_epochs_that_are_no_multiple():
    made = history(loss=[1.0] * 5, val_loss=[2.0, 3.0])
    made.epoch = list(range(5))
    assert curves(kx.plot_history(made).axes[0])["validation"] == [[2, 2.0], [4, 3.0]]


def test_what_is_drawn_can_be_chosen():
    figure = kx.plot_history(COLUMNS, exclude=["batch", "^loss$"])
    assert [axes.get_title() for axes in figure.axes] == ["val_loss"]


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (None, {}, "`history` must be what `fit` returns"),
        ({}, {}, "`history` must be what `fit` returns"),
        ({"loss": 3.0}, {}, "`history` must be what `fit` returns"),
        (COLUMNS, {"include": "none"}, r"some quantity is left.*\['batch_size', 'loss"),
        (COLUMNS, {"include": 3}, "`include` must be a regular expression"),
    ],
)
def test_what_it_refuses(given, options, message):
    with pytest.raises(ValueError, match=message):
        kx.plot_history(given, **options)
