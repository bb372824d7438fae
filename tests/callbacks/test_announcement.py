"""The line at the end, of a training whose stop is scripted."""

import logging

import keras
import pytest

from keras_ext.callbacks.stopping._stopping_callback import StoppingCallback


class Scripted(StoppingCallback):
    """Speaks for a stop from the second epoch on."""

    criterion = "scripted"

    def measure(self, epoch, logs):
        return float(epoch)

    def verdict(self, value):
        return "it is late" if value > 0 else None


class Watched:
    """What a callback needs of a model."""

    optimizer = None
    stop_training = False

    def get_weights(self):
        return []

    def set_weights(self, weights):
        pass


def run(epochs=3, **options):
    stop = Scripted(patience=2, **options)
    stop.set_model(Watched())
    stop.on_train_begin()
    for epoch in range(epochs):
        stop.on_epoch_end(epoch, {})
    stop.on_train_end()


LINE = "Epoch 3: early stopping by Scripted: it is late for 2 epochs."


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, LINE + "\n"),
        ({"verbose": 0}, ""),
        ({"epochs": 2}, ""),
        (
            {"restore_best_weights": True, "verbose": True},
            LINE + " The weights of epoch 2 are restored.\n",
        ),
    ],
)
def test_one_line_if_training_was_stopped(options, line, capsys):
    run(**options)
    assert capsys.readouterr().out == line


def test_without_interactive_logging_it_goes_to_the_log(capsys, caplog):
    keras.config.disable_interactive_logging()
    try:
        with caplog.at_level(logging.INFO):
            run()
    finally:
        keras.config.enable_interactive_logging()
    assert capsys.readouterr().out == ""
    assert LINE in caplog.messages
