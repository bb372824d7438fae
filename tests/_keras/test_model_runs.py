"""Tests of being told when a run of a model has ended."""

import inspect

import keras
import numpy as np
import pytest

from keras_ext._keras._model_runs import (
    arguments_of_fit,
    is_running,
    tell_when_runs_end,
)
from tests.thorough import LONG

X, Y = np.ones((4, 2)), np.ones((4, 1))


@pytest.fixture
def told(monkeypatch):
    """The models of which the end of a run was told."""
    ended = []
    listener = ended.append
    tell_when_runs_end(listener)
    from keras_ext._keras import _model_runs

    yield ended
    _model_runs._listeners.remove(listener)


def make_model(cls=keras.Sequential):
    model = cls([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


@pytest.mark.parametrize("run", ["fit", "evaluate", "predict"])
def test_the_end_is_told_once(run, told):
    model = make_model()
    arguments = (X,) if run == "predict" else (X, Y)
    getattr(model, run)(*arguments, verbose=0)
    assert told == [model]
    assert not is_running(model)


def test_an_evaluation_in_a_fit_is_no_end(told):
    model = make_model()

    class Looks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.predict(X, verbose=0)
            assert is_running(self.model)
            assert told == []

    data = (X, Y)
    model.fit(X, Y, validation_data=data, callbacks=[Looks()], verbose=0)
    assert told == [model]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_accident_is_an_end(error, told):
    class Fails(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise error

    model = make_model()
    with pytest.raises(error):
        model.fit(X, Y, callbacks=[Fails()], verbose=0)
    assert told == [model]
    assert not is_running(model)


@pytest.mark.thorough(LONG)
def test_a_subclass_with_a_fit_of_its_own_is_told_too(told):
    class Own(keras.Sequential):
        def fit(self, *args, **kwargs):
            return super().fit(*args, **kwargs)

    model = make_model(Own)
    model.fit(X, Y, verbose=0)
    assert told == [model]


def test_methods_look_as_before(told):
    """Keras's own are still there to be read, by people and by `inspect`."""
    for name in ("fit", "evaluate", "predict"):
        method = getattr(keras.Model, name)
        assert method.__name__ == name
        assert "x" in inspect.signature(method).parameters
        assert "Args" in (method.__doc__ or "") or name in dir(keras.Model)


def test_a_fit_inside_a_fit_has_arguments_of_its_own(told):
    seen = []

    class Again(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.fit(2 * X, Y, verbose=0)
            seen.append(arguments_of_fit(self.model)["x"])

    model = make_model()
    model.fit(X, Y, callbacks=[Again()], verbose=0)
    assert seen[0] is X
    assert arguments_of_fit(model) is None


@pytest.mark.thorough(LONG)
def test_the_arguments_of_fit_are_known_while_it_runs(told):
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append(arguments_of_fit(self.model))

        on_test_begin = on_train_begin

    model = make_model()
    model.fit(X, y=Y, validation_split=0.5, callbacks=[Look()], verbose=0)
    assert seen[0]["x"] is X
    assert seen[0]["y"] is Y
    assert seen[0]["validation_split"] == 0.5
    assert seen[0]["validation_data"] is None
    # The validation is a run within it, with arguments of its own.
    assert seen[1]["x"] is X
    model.evaluate(X, Y, callbacks=[Look()], verbose=0)
    assert seen[2] is None
    with pytest.raises(TypeError, match="no_argument_of_fit"):
        model.fit(X, no_argument_of_fit=1)
    assert arguments_of_fit(model) is None
