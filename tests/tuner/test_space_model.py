"""Hypermodels of spaces."""

import keras
import keras_tuner
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.tuner import spaces
from tests.thorough import LONG


def space_model(**training):
    return kx.tuner.SpaceModel(
        spaces.mlp((2,), 1, depth=(1, 2), widths=["equal", "free"], width=(2, 4)),
        spaces.optimization(batch_policy=["constant", "norm_test"]),
        spaces.training(6, batch_size=(2, 4), epochs=2, **training),
        loss="mse",
        metrics=["mae"],
        run_eagerly=True,
    )


@pytest.fixture
def data():
    x = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
    return {"x": x, "y": x.sum(axis=1, keepdims=True)}


def test_no_model_is_built_before_the_first_trial():
    """On stock 1.4.8, 1 to find what is asked for, and one for each condition."""
    builds = []

    class Counted(kx.tuner.SpaceModel):
        def build(self, hp):
            builds.append(hp)
            return super().build(hp)

    given = space_model()
    model = Counted(given.network, given.optimization, given.training, loss="mse")
    oracle = kx.tuner.OptunaOracle("loss", 3, seed=0)
    kx.tuner.Tuner(oracle, model)
    assert builds == []
    names = {hp.name for hp in oracle.get_space().space}
    assert {"mlp/share_2", "optimization/clip_adaptive"} < names
    # All that any configuration asks for was declared.
    keras_tuner.RandomSearch(model, "loss", 3, project_name="stock")
    assert len(builds) == 1
    assert {hp.name for hp in builds[0].space} == names


@pytest.mark.thorough(LONG)
def test_trains_with_what_was_drawn(data):
    """Also where the statistics of batch normalization are of other weights."""
    search = kx.tuner.RandomSearch(space_model(), "loss", 2, seed=1)
    hard = {
        "mlp/normalization": "batch",
        "optimization/averaging": "lookahead",
        "optimization/batch_policy": "norm_test",
    }
    search.oracle.enqueue(hard)
    search.search(**data, verbose=0)
    trials = list(search.oracle.trials.values())
    assert [t.status for t in trials] == ["COMPLETED"] * 2, trials[0].message
    assert all(len(t.metrics.get_history("mae")) == 2 for t in trials)


def test_updates_are_those_of_batch_size_epochs_and_accumulation(data):
    model = space_model(accumulation=3)
    hp = keras_tuner.HyperParameters()
    hp.values = {"training/batch_size": 2, "optimization/clip": "none"}
    built = model.build(hp)
    model.fit(hp, built, **data, verbose=0)
    assert int(built.optimizer.iterations) == model.training.total_steps(hp) == 2
    # A search that knows better, as Hyperband.
    history = model.fit(hp, built, **data, verbose=0, epochs=1)
    assert len(history.history["loss"]) == 1


def test_a_batch_policy_begins_with_what_is_accumulated(data):
    model = space_model(accumulation=3)
    hp = keras_tuner.HyperParameters()
    hp.values = {"training/batch_size": 2, "optimization/batch_policy": "norm_test"}
    built = model.build(hp)
    history = model.fit(hp, built, **data, verbose=0, epochs=1).history
    assert history["batch_size"] == [6]
    assert int(built.optimizer.iterations) == 1


def test_statistics_are_not_of_rows_that_are_held_out(data):
    from keras_ext.tuner._space_model import _recalibrated

    model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
    for averages in (False, True):
        inner = keras.optimizers.SGD(0.1)
        model.compile(kx.optimizers.Lookahead(inner) if averages else inner, "mse")
        found = _recalibrated(model, (), {**data, "validation_split": 0.5})
        assert len(found) == averages
    x, y = found[0].train_data
    np.testing.assert_array_equal(x, data["x"][:3])
    np.testing.assert_array_equal(y, data["y"][:3])
    (callback,) = _recalibrated(model, (data["x"],), {})
    assert callback.train_data[0] is data["x"]


def test_statistics_of_models_inside_move_and_those_of_frozen_layers_do_not(data):
    from keras_ext.tuner._space_model import _recalibrated

    norm = keras.layers.BatchNormalization()
    inside = keras.Sequential([keras.Input((2,)), norm])
    model = keras.Sequential([keras.Input((2,)), inside, keras.layers.Dense(1)])
    model.compile(
        kx.optimizers.Lookahead(keras.optimizers.SGD(0.1)), "mse", run_eagerly=True
    )
    (callback,) = _recalibrated(model, (), data)
    model.fit(**data, callbacks=[callback], verbose=0)
    np.testing.assert_allclose(norm.moving_mean, data["x"].mean(axis=0), rtol=1e-3)
    norm.trainable = False
    assert _recalibrated(model, (), data) == []


def test_arguments_are_checked(data):
    network, optimization = spaces.mlp((2,), 1), spaces.optimization()
    with pytest.raises(ValueError, match=r"`optimization` must be what keras_ext.tun"):
        kx.tuner.SpaceModel(network, "adam")
    with pytest.raises(ValueError, match=r"`training` must be what keras_ext.tuner"):
        kx.tuner.SpaceModel(network, optimization, optimization)
    with pytest.raises(ValueError, match="`network` must be a space or"):
        kx.tuner.SpaceModel("mlp", optimization)
    model = space_model()
    hp = keras_tuner.HyperParameters()
    with pytest.raises(ValueError, match="`batch_size` must be left to the space"):
        model.fit(hp, model.build(hp), **data, batch_size=2)
    searched = spaces.training(6, epochs=(2, 9))
    model = kx.tuner.SpaceModel(network, optimization, searched, loss="mse")
    with pytest.raises(ValueError, match="`epochs` must be left to the space, which"):
        kx.tuner.BOHB(model, "loss", 1, max_epochs=3).search(**data, verbose=0)
    with pytest.raises(
        ValueError, match="`total_steps` must be given, for the schedule"
    ):
        kx.tuner.SpaceModel(network, optimization)
    constant = spaces.optimization(schedule="constant")
    own = kx.tuner.SpaceModel(lambda hp: None, constant)
    assert not own.is_declared
