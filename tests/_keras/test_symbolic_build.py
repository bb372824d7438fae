"""That Keras has the faults that are repaired; two workers are tested elsewhere."""

import keras
import pytest
from keras.src.backend.tensorflow import trainer  # noqa: TID251

from keras_ext._keras import _symbolic_build
from tests.thorough import thorough_but

NAMES = ["_maybe_symbolic_build", "reduce_per_replica"]


@pytest.fixture(autouse=True)
def _as_keras_has_it():
    """Other tests may have repaired it; they find it so again."""
    was_repaired = not _symbolic_build.faults()
    _symbolic_build.take_back()
    yield
    _symbolic_build.take_back()
    if was_repaired:
        _symbolic_build.repair()


def test_the_installed_keras_is_known():
    """If this fails, Keras has changed: see whether its own `fit` works by now."""
    assert keras.__version__.startswith(("3.14.", "3.15."))
    assert _symbolic_build.faults() == NAMES


def functions():
    return trainer.TensorFlowTrainer._maybe_symbolic_build, trainer.reduce_per_replica


def test_repairs_are_made_once_and_can_be_taken_back():
    before = functions()
    _symbolic_build.repair()
    repaired = functions()
    assert all(a is not b for a, b in zip(before, repaired, strict=True))
    assert _symbolic_build.faults() == []
    _symbolic_build.repair()
    assert functions() == repaired
    _symbolic_build.take_back(NAMES[:1])
    assert functions() == (before[0], repaired[1])
    _symbolic_build.take_back()
    assert functions() == before


def test_a_keras_without_faults_is_left_alone(monkeypatch):
    def reduce_per_replica(values, strategy, reduction):
        return values

    monkeypatch.setattr(trainer, "reduce_per_replica", reduce_per_replica)
    monkeypatch.delattr(trainer.TensorFlowTrainer, "_maybe_symbolic_build")
    assert _symbolic_build.faults() == []
    _symbolic_build.repair()
    assert trainer.reduce_per_replica is reduce_per_replica


@pytest.mark.parametrize("replicas", thorough_but({1}, [1, 2]))
def test_they_change_nothing_in_one_process(strategies, replicas):
    weights = []
    for repaired in (False, True):
        keras.utils.set_random_seed(0)
        with strategies(replicas).scope():
            model = keras.Sequential([keras.layers.Dense(1)])
            model.compile("sgd", "mse")
        x = keras.ops.ones((8, 2))
        if repaired:
            _symbolic_build.repair()
        model.fit(x, x[:, :1], verbose=0)
        weights.append(model.get_weights()[0].tolist())
    assert weights[0] == weights[1]
