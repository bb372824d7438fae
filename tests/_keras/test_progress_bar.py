"""Integers in Keras's progress bar."""

import keras
import numpy as np
import pytest

from keras_ext._keras._progress_bar import for_progress_bar

LOGS = {"loss": 0.25, "batch_size": 64, "frozen": np.int64(0), "rate": 1e-5}


@pytest.mark.parametrize("verbose", [1, 2])
def test_integers_are_printed_as_integers(verbose, capsys):
    bar = keras.utils.Progbar(3, verbose=verbose)
    bar.update(3, list(for_progress_bar(LOGS).items()), finalize=True)
    shown = capsys.readouterr().out
    numbers = " - loss: 0.2500 - batch_size: 64 - frozen: 0 - rate: 1.0000e-05\n"
    assert shown.endswith(numbers)


def test_it_is_still_needed(capsys):
    """Fails when Keras prints integers itself: then this can go."""
    keras.utils.Progbar(3, verbose=2).update(3, [("size", 64)], finalize=True)
    assert "size: 64.0000" in capsys.readouterr().out


def test_values_are_the_same():
    assert for_progress_bar(LOGS) == LOGS
