import os
import sys

import keras
import pytest

from keras_ext.compression import run_tfmot
from tests.thorough import PROCESSES


def model():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def model_of_three(model, tfmot, x):
    return model


def recipe(model, tfmot, x, y):
    return model


@pytest.mark.thorough(PROCESSES)
def test_the_process_says_what_is_missing_and_nothing_changes_here():
    """Where tfmot is installed, see `tests/bridge/tfmot_bridge.py`."""
    before = dict(os.environ)
    with pytest.raises(RuntimeError, match=r'pip install "keras-ext\[tfmot\]"'):
        run_tfmot(model(), recipe, python=sys.executable)
    assert dict(os.environ) == before
    assert not {"tf_keras", "tensorflow_model_optimization"} & set(sys.modules)
    with pytest.raises(RuntimeError, match=r"tfmot was ended after 0\.1 seconds"):
        run_tfmot(model(), recipe, timeout=0.1)


def test_refuses_what_cannot_be_run_elsewhere(tmp_path):
    outside = 3

    def with_outside(model, tfmot, x, y):
        return outside

    with pytest.raises(ValueError, match="`recipe` must be a function that is written"):
        run_tfmot(model(), lambda m, t, x, y: m)
    with pytest.raises(ValueError, match=r"uses nothing from outside, not \['outside'"):
        run_tfmot(model(), with_outside)
    with pytest.raises(ValueError, match=r"must be a function of \(model, tfmot"):
        run_tfmot(model(), model_of_three)
    with pytest.raises(ValueError, match="`python` must be the path of an interpreter"):
        run_tfmot(model(), recipe, python=tmp_path / "python")
    with pytest.raises(ValueError, match="`path` must be a path that ends with"):
        run_tfmot(model(), recipe, path="m.keras")
