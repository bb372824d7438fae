import importlib
import re

import keras
import pytest

import keras_ext as kx
from keras_ext._keras._backend import warn_unless_tensorflow


def test_another_backend_is_told_when_the_library_is_imported(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.warns(UserWarning, match="keras_ext is for the TensorFlow") as caught:
        importlib.reload(kx)
    text = str(caught[0].message)
    assert "'jax'" in text
    assert "KERAS_BACKEND=tensorflow" in text
    # Every family is said to work or not to.
    families = {name for name in kx.__all__ if hasattr(getattr(kx, name), "__path__")}
    assert families <= set(re.findall(r"\w+", text.lower()))


def test_nothing_is_said_on_tensorflow(recwarn):
    warn_unless_tensorflow()
    assert not recwarn.list
