"""Batch sizes, epochs and updates."""

import keras_tuner
import pytest

from keras_ext.tuner.spaces import training


def test_updates_are_counted_as_fit_makes_them():
    space = training(100, batch_size=(8, 32), epochs=(2, 9), accumulation=(1, 4))
    hp = keras_tuner.HyperParameters()
    hp.values = {
        "training/batch_size": 16,
        "training/epochs": 3,
        "training/accumulation": 2,
    }
    assert space(hp) == {"batch_size": 16, "epochs": 3}
    # 6 batches of 16 and one of 4, thrice, in pairs.
    assert space.total_steps(hp) == 10
    assert space.accumulation(hp) == 2
    assert list(hp.space[0].values) == [8, 16, 32]
    tiny = training(1, batch_size=8, epochs=1, accumulation=4)
    assert tiny.total_steps(keras_tuner.HyperParameters()) == 1


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`num_rows` must be an integer >= 1"):
        training(0)
    with pytest.raises(ValueError, match="`batch_size` must be an integer >= 1 or a"):
        training(10, batch_size=(64, 16))
