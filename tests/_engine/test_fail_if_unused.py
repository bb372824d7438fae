from types import SimpleNamespace

import keras
import pytest

from keras_ext._engine._fail_if_unused import fail_if_unused
from keras_ext._fit._fit_scope import FitScope


class Custom(keras.Model):
    """A step that applies what it is given, or nothing."""

    applied = None

    def train_step(self, data):
        if self.applied is not None:
            self.applied.was_applied = True
        return data


def watched(model):
    """With an optimizer that was applied in another step."""
    optimizer = SimpleNamespace(was_applied=True)
    with FitScope.joining(model, "owner") as scope:
        fail_if_unused(scope, optimizer)
    return optimizer, scope


def test_a_step_that_goes_past_the_optimizer_fails():
    model = Custom()
    _, scope = watched(model)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"`model\.train_step` must be one that"):
            model.train_step({"loss": 1.0})
    scope.close()
    assert model.train_step("data") == "data"


def test_one_that_applies_it_gives_what_it_gave():
    model = Custom()
    optimizer, _ = watched(model)
    model.applied = optimizer
    assert model.train_step({"loss": 1.0}) == {"loss": 1.0}


def test_the_step_of_keras_is_left_alone():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    watched(model)
    assert "train_step" not in vars(model)
