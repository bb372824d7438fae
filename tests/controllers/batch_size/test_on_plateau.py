import math
import re

import pytest

from keras_ext.controllers.batch_size import Measured, OnPlateau


def sizes(policy, name, values):
    found = [8]
    for value in values:
        found.append(policy.update(Measured(found[-1], 8, logs={name: value})))
    return found[1:]


def test_doubles_when_the_loss_stands_still():
    values = [3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    found = sizes(OnPlateau(patience=2), "val_loss", values)
    assert found == [8, 8, 8, 16, 16, 16, 32]


def test_more_can_be_better():
    values = [0.1, 0.2, 0.2, 0.3, 0.1]
    found = sizes(OnPlateau("accuracy", patience=1, mode="max"), "accuracy", values)
    assert found == [8, 8, 16, 16, 32]


def test_waits_after_a_doubling():
    found = sizes(OnPlateau("loss", patience=1, cooldown=2), "loss", [1.0] * 6)
    assert found == [8, 16, 16, 32, 32, 64]


def test_what_is_not_logged_is_not_counted():
    values = [1.0, math.nan, math.nan, math.nan]
    assert sizes(OnPlateau(patience=1), "val_loss", values) == [8, 8, 8, 8]
    assert sizes(OnPlateau(patience=1), "loss", [1.0, 1.0, 1.0]) == [8, 8, 8]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"monitor": ""}, "`monitor` must be a non-empty text. Received: monitor=''."),
        ({"patience": 0}, "`patience` must be an integer >= 1. Received: patience=0."),
        ({"mode": "auto"}, '`mode` must be "min" or "max". Received: mode=\'auto\'.'),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        OnPlateau(**kwargs)
