"""How models are built, and how many. How they are trained: see `test_tuner.py`."""

import gc
import sys

import keras_tuner
import pytest

import keras_ext as kx
from keras_ext.tuner import _building_tuner


def search(build, trials=2, tuner=kx.tuner.RandomSearch, **arguments):
    return tuner(build, "loss", trials, seed=0, project_name="project", **arguments)


def test_it_needs_no_tensorboard_unless_it_is_asked_for(build, data, monkeypatch):
    """On stock 1.4.8 every trial fails without it."""
    monkeypatch.setitem(sys.modules, "tensorboard.plugins.hparams", None)
    fit = {**data, "verbose": 0}
    made = search(build, 1)
    made.search(**fit)
    assert made.oracle.trials["0"].status == "COMPLETED"
    stock = search(build, 1, tuner=keras_tuner.RandomSearch, overwrite=True)
    stock.oracle.max_consecutive_failed_trials = 2
    stock.search(**fit)
    assert "tensorboard" in stock.oracle.trials["0"].message


def test_a_declared_space_needs_no_models(build):
    """On stock 1.4.8 models are built until all conditions were active."""
    built = []

    def counted(hp):
        built.append(hp)
        return build(hp)

    space = keras_tuner.HyperParameters()
    space.Float("rate", 1e-3, 0.1, sampling="log")
    search(counted, hyperparameters=space, allow_new_entries=False)
    assert built == []
    search(counted, hyperparameters=space)
    assert built


@pytest.fixture
def thawed():
    """As where no suite of tests has frozen what it imports."""
    was_frozen = gc.get_freeze_count() > 0
    gc.unfreeze()
    yield
    if was_frozen:
        gc.freeze()


@pytest.mark.usefixtures("thawed")
def test_garbage_is_collected_once_for_each_model(build, data, monkeypatch):
    """On stock 1.4.8 twice, which is most of what it adds to a trial."""
    collected = []
    made = search(build, 2, backup=False)
    monkeypatch.setattr(_building_tuner.gc, "collect", lambda: collected.append(1))
    made.search(**data, verbose=0)
    assert len(collected) == 2 + 1  # and once before all


@pytest.mark.usefixtures("thawed")
def test_what_was_there_before_is_no_garbage_while_it_searches(build, data):
    frozen = []

    def looked_at(hp):
        frozen.append(gc.get_freeze_count())
        if len(frozen) > 2:
            raise keras_tuner.errors.FatalError
        return build(hp)

    made = search(looked_at, 9, backup=False)
    with pytest.raises(keras_tuner.errors.FatalError):
        made.search(**data, verbose=0)
    # The first model is built when the tuner is made, to find the space.
    assert frozen[0] == 0
    assert min(frozen[1:]) > 100_000
    assert gc.get_freeze_count() == 0
    gc.freeze()
    try:
        search(build, 1, backup=False, overwrite=True).search(**data, verbose=0)
        assert gc.get_freeze_count() > 0  # not ours to end
    finally:
        gc.unfreeze()


def test_models_that_are_too_large_and_no_models_are_refused(build, data):
    made = search(build, 1, max_model_size=2)
    made.search(**data, verbose=0)
    assert made.oracle.trials["0"].message.count("Oversized model: 3 parameters") == 1
    made.hypermodel.build = lambda hp: "none"
    with pytest.raises(keras_tuner.errors.FatalTypeError, match="Received: a str"):
        made._try_build(made.oracle.get_space())
