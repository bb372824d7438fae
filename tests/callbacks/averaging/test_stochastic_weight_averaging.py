import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.callbacks import StochasticWeightAveraging
from tests.thorough import LONG, MATRIX, thorough_but

RNG = np.random.default_rng(0)
X = RNG.normal(1.0, 2.0, size=(64, 3)).astype("float32")
Y = X[:, :1] - X[:, 1:2]


def make_model(**options):
    keras.utils.set_random_seed(0)
    norm = keras.layers.BatchNormalization(momentum=0.5, name="norm")
    layers = [keras.layers.Dense(4, "relu"), norm, keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    options = {"run_eagerly": True, **options}
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse", **options)
    return model


def fit(model, callbacks, epochs=4, **options):
    options = {"batch_size": 16, "shuffle": False, "verbose": 0, **options}
    return model.fit(X, Y, epochs=epochs, callbacks=callbacks, **options)


class Path(keras.callbacks.Callback):
    """The weights of the training, before anybody can put others on the model."""

    def on_train_begin(self, logs=None):
        self.begins, self.ends = [], []

    def on_epoch_begin(self, epoch, logs=None):
        # After others in the list, if it is the last one.
        self.begins.append(self.model.get_weights())

    def on_train_batch_end(self, batch, logs=None):
        self.last = self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(self.last)


def mean(weights, chosen):
    return [np.mean([weights[i][k] for i in chosen], axis=0) for k in range(8)]


def trainable(model, weights):
    known = {id(v) for v in model.trainable_variables}
    pairs = zip(model.weights, weights, strict=True)
    return [w for v, w in pairs if id(v) in known]


def assert_close(one, other, **tolerance):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-6, "atol": 1e-7, **tolerance})


@pytest.fixture(scope="module")
def plain():
    model, path = make_model(), Path()
    fit(model, [path], epochs=5)
    return path


@pytest.mark.parametrize("every", thorough_but([2], [1, 2]))
@pytest.mark.thorough(LONG)
def test_the_mean_of_the_epochs_and_a_training_that_does_not_notice(plain, every):
    model, path = make_model(), Path()
    swa = StochasticWeightAveraging(1, every_epochs=every, train_data=(X, Y))
    history = fit(model, [path, swa, last := Path()], epochs=5, validation_data=(X, Y))
    for ours, theirs in zip(path.ends, plain.ends, strict=True):
        assert_close(trainable(model, ours), trainable(model, theirs), rtol=0, atol=0)
    assert_close(last.begins[-1], plain.ends[3], rtol=0, atol=0)
    expected = mean(plain.ends, range(1, 5, every))
    assert_close(trainable(model, model.get_weights()), trainable(model, expected))
    counts = [0, 1, 2, 3, 4] if every == 1 else [0, 1, 1, 2, 2]
    assert history.history["averaged_models"] == counts
    # Of what the layer gets from the mean of the weights.
    inputs = np.asarray(model.layers[0](X))
    norm = model.get_layer("norm")
    assert_close([norm.moving_mean], [inputs.mean(0)], rtol=1e-5)
    assert_close([norm.moving_variance], [inputs.var(0)], rtol=1e-4)
    # What `fit` has validated last is what it has left.
    found = history.history["val_loss"][-1]
    assert found == pytest.approx(model.evaluate(X, Y, verbose=0), rel=1e-5)
    assert "finalize_variable_values" not in vars(model.optimizer)


@pytest.mark.parametrize("first", thorough_but([True], [True, False]))
def test_early_stopping_restores_the_best_mean_wherever_it_is(first):
    model = make_model()
    stop = keras.callbacks.EarlyStopping(
        "loss", mode="max", patience=1, restore_best_weights=True
    )
    swa = StochasticWeightAveraging(0)
    path = Path()
    callbacks = [stop, swa, path] if first else [swa, stop, path]
    history = fit(model, callbacks, epochs=9)
    # The loss falls, so it stops after the second epoch and restores the first.
    assert len(history.epoch) == 2
    expected = trainable(model, path.ends[0])
    assert_close(trainable(model, model.get_weights()), expected, rtol=0, atol=0)


@pytest.mark.thorough(LONG)
def test_files_have_the_mean_and_a_training_goes_on_from_them(tmp_path):
    whole = make_model()
    file = str(tmp_path / "{epoch}.keras")
    save = keras.callbacks.ModelCheckpoint(file)
    callbacks = [save, StochasticWeightAveraging(1, train_data=(X, Y))]
    history = fit(whole, callbacks, validation_data=(X, Y))
    saved = keras.models.load_model(file.format(epoch=3))
    loss = saved.evaluate(X, Y, verbose=0)
    assert loss == pytest.approx(history.history["val_loss"][2], rel=1e-5)
    assert type(saved) is keras.Sequential
    fit(saved, [StochasticWeightAveraging(1, train_data=(X, Y))], initial_epoch=3)
    assert_close(saved.get_weights(), whole.get_weights(), rtol=1e-5)


@pytest.mark.thorough(LONG)
def test_what_is_accumulated_in_the_end_moves_no_mean():
    """Three micro-batches an update, and four in an epoch: one is left."""
    model, path = make_model(), Path()
    size = kx.callbacks.DynamicBatchSize([(0, 3)], batch_size=16)
    fit(model, [StochasticWeightAveraging(1), size, path], epochs=4)
    expected = mean(path.ends, range(1, 4))
    assert_close(trainable(model, model.get_weights()), trainable(model, expected))
    assert type(model.optimizer) is keras.optimizers.SGD
    # The last update was made all the same, of the weights of the training.
    assert int(model.optimizer.iterations) == 6


def test_an_error_leaves_the_weights_of_the_training():
    class Fail(keras.callbacks.Callback):
        def on_test_end(self, logs=None):
            raise KeyboardInterrupt

    model, path = make_model(), Path()
    callbacks = [StochasticWeightAveraging(0), path, Fail()]
    with pytest.raises(KeyboardInterrupt):
        fit(model, callbacks, validation_data=(X[:8] + 9, Y[:8]))
    assert_close(model.get_weights(), path.last, rtol=0, atol=0)
    assert "finalize_variable_values" not in vars(model.optimizer)


@pytest.mark.thorough(MATRIX)
def test_two_replicas_average_as_one(strategies):
    weights = []
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
    for replicas in (1, 2):
        with strategies(replicas).scope():
            keras.utils.set_random_seed(0)
            dense = keras.layers.Dense(1)
            model = keras.Sequential([keras.Input((3,)), dense])
            model.compile(keras.optimizers.SGD(0.05), "mse")
        swa = StochasticWeightAveraging(1)
        model.fit(data, epochs=3, callbacks=[swa], shuffle=False, verbose=0)
        weights.append(model.get_weights())
    assert_close(*weights, rtol=1e-5)


def test_half_precision_is_averaged_in_single_precision():
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, dtype="float16")]
    )
    swa = StochasticWeightAveraging(0)
    swa.set_model_for = model.compile(keras.optimizers.SGD(0.1), "mse")
    swa.set_model(model)
    for k in range(300):
        model.layers[0].kernel.assign([[1.0 if k % 2 else 1.001]])
        swa._add([np.asarray(v.value) for v in model.trainable_variables])
    kx.detach(model)
    assert swa._average[0].dtype == "float32"
    half = float(np.float16(1.001))
    assert float(swa._average[0][0, 0]) == pytest.approx((1 + half) / 2, rel=1e-6)


def test_no_mean_of_epochs_that_do_not_come():
    model = make_model()
    with pytest.raises(ValueError, match="`start_epoch` must be an integer < 4"):
        fit(model, [StochasticWeightAveraging(4)])
    assert "_keras_ext_scope" not in vars(model)


@pytest.mark.parametrize("how", ["replicas", "optimizer"])
def test_weights_that_are_averaged_already_are_refused_before_training(how):
    model, others = make_model(run_eagerly=False), []
    if how == "replicas":
        others = [kx.callbacks.LocalSGD()]
    else:
        model.compile(kx.optimizers.Lookahead(keras.optimizers.SGD(0.1)), "mse")
    swa, calibrate = StochasticWeightAveraging(1), kx.callbacks.RecalibrateBatchNorm
    with pytest.raises(ValueError, match="It averages them itself"):
        fit(model, [swa, calibrate((X, Y)), *others])
    assert "_keras_ext_scope" not in vars(model)


def test_begins_behind_its_first_epoch():
    average = StochasticWeightAveraging(start_epoch=1, every_epochs=3)
    model = make_model()
    history = fit(model, [average], epochs=6, initial_epoch=2).history
    assert history["averaged_models"] == [0, 0, 1, 1]
