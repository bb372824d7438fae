"""Distances between gradients of a linear model, written out in NumPy."""

import itertools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.callbacks import GradientDisparityEarlyStopping

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3)).astype("float32")
Y = RNG.normal(size=(60, 2)).astype("float32")


def make_model(rate=0.0, loss="mse", dtype=None, units=2):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(units, dtype=dtype)]
    )
    model.compile(keras.optimizers.SGD(rate), loss)
    return model


def disparity(model, batches):
    """By the derivatives of mean and standard deviation of squared errors."""
    kernel, bias = (w.astype("float64") for w in model.get_weights())
    gradients = []
    for x, y in batches:
        x, y = x.astype("float64"), y.astype("float64")
        error = x @ kernel + bias - y
        losses = np.mean(error**2, axis=1)
        mean, spread = losses.mean(), losses.std(ddof=1)
        # d(mean / spread) = d mean / spread - mean / spread**2 * d spread
        rows = 1 / len(x) / spread - mean / spread**3 * (losses - mean) / (len(x) - 1)
        outer = 2 / error.shape[1] * error * rows[:, None]
        gradients.append(np.concatenate([np.ravel(x.T @ outer), outer.sum(axis=0)]))
    pairs = itertools.combinations(gradients, 2)
    return np.mean([np.linalg.norm(a - b) for a, b in pairs])


def fit(stop, epochs=2, model=None, **options):
    model = model or make_model()
    return model.fit(
        X, Y, epochs=epochs, callbacks=[stop], verbose=0, **options
    ).history


@pytest.mark.parametrize("loss", ["mse", keras.losses.MeanSquaredError()])
def test_equals_the_closed_form(loss):
    model = make_model(loss=loss)
    stop = GradientDisparityEarlyStopping((X, Y), batches=3, batch_size=20)
    logged = fit(stop, model=model)["gradient_disparity"]
    batches = [(X[i : i + 20], Y[i : i + 20]) for i in (0, 20, 40)]
    expected = disparity(model, batches)
    assert logged == pytest.approx([expected] * 2, rel=1e-4)


def test_rows_of_fit_are_taken_as_if_they_were_given():
    for options in ({}, {"validation_split": 0.5}):
        own = GradientDisparityEarlyStopping(batches=2, batch_size=10)
        rows = slice(0, 30 if options else 60)
        given = GradientDisparityEarlyStopping(
            (X[rows], Y[rows]), batches=2, batch_size=10
        )
        found = [fit(stop, epochs=1, **options) for stop in (own, given)]
        # The same kernel in both, which a seed draws.
        assert found[0]["gradient_disparity"] == found[1]["gradient_disparity"]
    model = make_model()
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(15)
    stop = GradientDisparityEarlyStopping(batches=2)
    logged = model.fit(data, shuffle=False, callbacks=[stop], verbose=0).history
    expected = disparity(model, [(X[:15], Y[:15]), (X[15:30], Y[15:30])])
    assert logged["gradient_disparity"] == pytest.approx([expected], rel=1e-4)


def test_datasets_give_their_first_batches():
    model = make_model()
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(15)
    stop = GradientDisparityEarlyStopping(data, batches=2)
    logged = fit(stop, epochs=1, model=model)["gradient_disparity"]
    expected = disparity(model, [(X[:15], Y[:15]), (X[15:30], Y[15:30])])
    assert logged == pytest.approx([expected], rel=1e-4)


def test_two_replicas(strategies):
    with strategies(2).scope():
        model = make_model()
    stop = GradientDisparityEarlyStopping((X, Y), batches=3, batch_size=20)
    logged = fit(stop, epochs=1, model=model)["gradient_disparity"]
    batches = [(X[i : i + 20], Y[i : i + 20]) for i in (0, 20, 40)]
    assert logged == pytest.approx([disparity(model, batches)], rel=1e-4)


def test_equal_losses_are_not_scaled():
    # The loss of each row is (w - 1)**2: no spread. The gradients are equal.
    x = np.ones((8, 3), "float32")
    stop = GradientDisparityEarlyStopping((x, x[:, :2]), batches=2, batch_size=4)
    assert fit(stop, epochs=1)["gradient_disparity"] == [0.0]


def test_looks_at_the_model_in_inference_mode():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    stop = GradientDisparityEarlyStopping((X, Y))
    stop.set_model(model)
    stop.on_train_begin()
    before = model.get_weights()
    measured = [stop.measure(0, {}) for _ in range(2)]
    assert measured[0] == measured[1]
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_classes_that_are_integers():
    model = make_model(loss="sparse_categorical_crossentropy")
    model.compile(
        keras.optimizers.SGD(0.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    labels = RNG.integers(0, 2, 60)
    stop = GradientDisparityEarlyStopping((X, labels))
    history = model.fit(X, labels, callbacks=[stop], verbose=0).history
    assert history["gradient_disparity"][0] > 0


class Scripted(GradientDisparityEarlyStopping):
    """One whose measurements are given."""

    def measure(self, epoch, logs):
        return [5.0, 4.0, 4.5, 4.2, 4.3, 4.4, 4.5, 4.6][epoch]


def test_stops_when_it_has_risen_often_enough_in_a_row():
    class Grow(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.set_weights([np.full((3, 2), epoch), np.zeros(2)])

    stop = Scripted((X, Y), patience=3, restore_best_weights=True)
    model = make_model()
    history = model.fit(X, Y, epochs=9, callbacks=[Grow(), stop], verbose=0)
    assert history.epoch[-1] == stop.stopped_epoch == 6
    assert stop.stopped_by == "gradient disparity has risen to 4.5 for 3 epochs"
    assert model.get_weights()[0][0, 0] == 3  # before the first of the three


def test_no_rise_from_an_epoch_before_start_from_epoch():
    """4.5 is a rise from 4.0, but from epoch 2 on the first one is 4.3."""
    stop = Scripted((X, Y), patience=1, start_from_epoch=2)
    assert len(fit(stop, epochs=8)["loss"]) == 5


def test_a_loss_for_each_output_cannot_be_taken():
    inputs = keras.Input((3,))
    outputs = [keras.layers.Dense(2)(inputs) for _ in range(2)]
    model = keras.Model(inputs, outputs)
    model.compile("sgd", ["mse", "mse"])
    stop = GradientDisparityEarlyStopping((X, [Y, Y]))
    with pytest.raises(ValueError, match="`model.loss` must be one loss of one output"):
        model.fit(X, [Y, Y], callbacks=[stop], verbose=0)


def test_one_batch_is_too_few():
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(60)
    with pytest.raises(ValueError, match=r"must be two batches\. Received: .*1 batch"):
        fit(GradientDisparityEarlyStopping(data))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batches": 1}, "`batches` must be an integer >= 2"),
        ({"batch_size": 1}, "`batch_size` must be an integer >= 2"),
        ({"train_data": X}, "`train_data` must be a tuple (x, y)"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GradientDisparityEarlyStopping(**{"train_data": (X, Y), **arguments})
