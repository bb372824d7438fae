import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.callbacks import LearningRateMultiplier, OneCycle, SnapshotEnsemble
from tests.thorough import LONG, TRAININGS
from tests.unbuilt import Unbuilt

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype("float32")
Y = X[:, :1]


def make_model(rate=0.2):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,), name="x")
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(4)(inputs))
    outputs = {"y": keras.layers.Dense(1)(hidden)}
    model = keras.Model({"x": inputs}, outputs)
    model.compile(keras.optimizers.SGD(rate), {"y": "mse"}, run_eagerly=True)
    return model


def fit(model, callbacks, epochs=4, x=None, y=None, **options):
    if x is None:
        x, y = {"x": X}, {"y": Y}
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    return model.fit(x, y, epochs=epochs, callbacks=callbacks, **options)


class Rates(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


def predictions(model, weights):
    before = model.get_weights()
    model.set_weights(weights)
    found = model.predict({"x": X}, verbose=0)["y"]
    model.set_weights(before)
    return found


@pytest.mark.thorough(LONG)
def test_rates_are_those_of_the_paper_and_the_ensemble_is_the_mean(tmp_path):
    model, rates = make_model(), Rates()
    cycles = SnapshotEnsemble(2)
    history = fit(model, [cycles, rates], epochs=5)
    # Equation 2, with T / M = 10 steps of a cycle, counted from 1.
    paper = [0.1 * (math.cos(math.pi * ((t - 1) % 10) / 10) + 1) for t in range(1, 26)]
    np.testing.assert_allclose(rates.rates, paper, rtol=1e-5, atol=1e-8)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.2)
    assert history.history["snapshots"] == [0, 1, 1, 2, 2]
    each = [predictions(model, weights) for weights in cycles.snapshots]
    assert np.abs(each[0] - each[1]).max() > 1e-3
    ensemble = cycles.ensemble()
    found = np.asarray(ensemble({"x": X})["y"])
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-5, atol=1e-6)
    one = cycles.ensemble(last=1)({"x": X})["y"]
    np.testing.assert_allclose(one, each[1], rtol=1e-5, atol=1e-6)
    bounded = cycles.ensemble(activation="sigmoid")({"x": X})["y"]
    squashed = np.mean([1 / (1 + np.exp(-e)) for e in each], axis=0)
    np.testing.assert_allclose(bounded, squashed, rtol=1e-5)
    ensemble.save(tmp_path / "ensemble.keras")
    loaded = keras.models.load_model(tmp_path / "ensemble.keras")
    np.testing.assert_allclose(loaded({"x": X})["y"], found)


@pytest.mark.thorough(TRAININGS)
def test_a_training_goes_on_with_its_snapshots_and_in_its_cycle(tmp_path):
    file = str(tmp_path / "{epoch}.keras")
    save = keras.callbacks.ModelCheckpoint(file)
    whole, kept = make_model(), SnapshotEnsemble(2)
    fit(whole, [save, kept])
    half, again = keras.models.load_model(file.format(epoch=3)), SnapshotEnsemble(2)
    fit(half, [again], initial_epoch=3)
    assert len(again.snapshots) == 2
    for ours, theirs in zip(again.snapshots, kept.snapshots, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_the_first_epoch_of_unknown_length_has_one_rate():
    model, rates = make_model(), Rates()
    data = tf.data.Dataset.from_tensor_slices(({"x": X}, {"y": Y})).batch(8)
    data = data.filter(lambda x, y: True)
    fit(model, [SnapshotEnsemble(2), rates], epochs=2, x=data, batch_size=None)
    expected = [0.2] * 5 + [
        0.1 * (1 + math.cos(math.pi * k / 10)) for k in range(5, 10)
    ]
    np.testing.assert_allclose(rates.rates, expected, rtol=1e-5)


@pytest.mark.thorough(LONG)
def test_nobody_else_moves_the_rate():
    """Before, the other one came to nothing, without a word."""
    for other in (OneCycle(0.1), LearningRateMultiplier(monitor="loss")):
        with pytest.raises(ValueError, match="one of them moves 'optimizer/learning_r"):
            fit(make_model(), [other, SnapshotEnsemble(2)])


def test_a_schedule_keeps_its_rates():
    schedule = keras.optimizers.schedules.CosineDecayRestarts(0.2, 10, t_mul=1.0)
    model, rates = make_model(schedule), Rates()
    cycles = SnapshotEnsemble(2, max_snapshots=1)
    fit(model, [cycles, rates])
    expected = [float(schedule(t)) for t in range(1, 21)]
    np.testing.assert_allclose(rates.rates, expected, rtol=1e-5)
    assert len(cycles.snapshots) == 1
    with pytest.raises(ValueError, match="must be None with a schedule"):
        fit(model, [SnapshotEnsemble(2, learning_rate=0.1)])


def test_an_interrupted_training_has_its_own_rate_again():
    class Fail(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                raise KeyboardInterrupt

    model = make_model()
    with pytest.raises(KeyboardInterrupt):
        fit(model, [SnapshotEnsemble(1, learning_rate=0.4), Fail()])
    assert float(model.optimizer.learning_rate) == pytest.approx(0.2)


def test_no_ensemble_without_snapshots_or_inputs():
    cycles = SnapshotEnsemble(1)
    with pytest.raises(ValueError, match="`snapshots` must be at least one"):
        cycles.ensemble()
    model = Unbuilt()
    model.compile("sgd", "mse", run_eagerly=True)
    fit(model, [cycles], epochs=1, x=X, y=Y)
    with pytest.raises(ValueError, match="functional or Sequential"):
        cycles.ensemble()
