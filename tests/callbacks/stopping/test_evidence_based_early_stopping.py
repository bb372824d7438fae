"""The criterion against its definition in NumPy, on a linear model."""

import re

import keras
import numpy as np
import pytest

from keras_ext.callbacks import EvidenceBasedEarlyStopping
from tests.thorough import LONG

ROWS, BATCH, INPUTS = 96, 8, 6
RNG = np.random.default_rng(3)
X = RNG.normal(size=(ROWS, INPUTS)).astype("float32")
NOISE = RNG.normal(size=(ROWS, 1)).astype("float32")
KERNEL = RNG.normal(size=(INPUTS, 1)).astype("float32")
Y = X @ KERNEL + NOISE


def make_model(rate=0.0, kernel=None, **options):
    model = keras.Sequential(
        [keras.Input((INPUTS,)), keras.layers.Dense(1, use_bias=False)]
    )
    model.compile(keras.optimizers.SGD(rate), "mse", **options)
    model.set_weights([np.zeros((INPUTS, 1)) if kernel is None else kernel])
    return model


def fit(model, stop, epochs=60, y=Y, **options):
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0, **options}
    return model.fit(X, y, epochs=epochs, callbacks=[stop], **options)


def batch_gradients(kernel, size=BATCH):
    errors = (X @ kernel - Y).astype("float64")
    rows = 2 * X * errors
    return rows.reshape(-1, size, INPUTS).mean(axis=1)


def evidence(gradients):
    """One minus the mean of the squared t statistics, less their mean by chance."""
    count = len(gradients)
    t = gradients.mean(axis=0) / (gradients.std(axis=0, ddof=1) / np.sqrt(count))
    return 1 - np.mean(t**2) * (count - 3) / (count - 1)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.thorough(LONG)
def test_equals_the_definition(jit_compile):
    stop = EvidenceBasedEarlyStopping()
    history = fit(make_model(jit_compile=jit_compile), stop, epochs=2).history
    expected = evidence(batch_gradients(np.zeros((INPUTS, 1))))
    assert history["gradient_evidence"] == pytest.approx([expected] * 2, rel=1e-4)
    assert expected < -5


@pytest.mark.thorough(LONG)
def test_two_replicas_are_two_samples(strategies):
    with strategies(2).scope():
        model = make_model()
    history = fit(model, EvidenceBasedEarlyStopping(), epochs=1).history
    # Each replica has one half of a batch. The halves of a batch are compared.
    halves = batch_gradients(np.zeros((INPUTS, 1)), BATCH // 2)
    pairs = halves.reshape(-1, 2, INPUTS)
    degrees = len(pairs)
    variance = np.sum((pairs[:, 0] - pairs[:, 1]) ** 2 / 2, axis=0) / degrees
    ratios = len(halves) * halves.mean(axis=0) ** 2 / variance
    expected = 1 - np.mean(ratios) * (degrees - 2) / degrees
    assert history["gradient_evidence"] == pytest.approx([expected], rel=1e-4)


@pytest.mark.thorough(LONG)
def test_is_positive_at_the_minimum_of_the_training_loss_and_not_far_from_it():
    best = np.linalg.lstsq(X, Y, rcond=None)[0]
    for kernel, is_done in ((best, True), (best + 0.5, False)):
        stop = EvidenceBasedEarlyStopping(start_from_epoch=0)
        fit(make_model(kernel=kernel), stop, epochs=4)
        assert (stop.stopped_epoch == 2) == is_done
    assert stop.stopped_by is None


def test_stops_while_training_and_says_why():
    stop = EvidenceBasedEarlyStopping(smoothing=0.0, restore_best_weights=True)
    model = make_model(0.02)
    kernels = []

    class Remember(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kernels.append(self.model.get_weights()[0])

    history = model.fit(
        X, Y, batch_size=8, epochs=60, callbacks=[Remember(), stop], verbose=0
    )
    assert history.epoch[-1] == stop.stopped_epoch < 59
    logged = np.array(history.history["gradient_evidence"])
    assert (logged[-3:] > 0).all()
    assert logged[-4] <= 0 or len(logged) == 5
    assert re.fullmatch(
        r"evidence criterion 0\.\d+ above 0 for \d+ epochs", stop.stopped_by
    )
    first = int(np.flatnonzero(logged <= 0)[-1]) + 1
    np.testing.assert_array_equal(model.get_weights()[0], kernels[first])


def test_is_averaged_over_epochs():
    class Jump(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            kernel = KERNEL + 1.0 / (1 + epoch)
            kernels.append(kernel)
            self.model.set_weights([kernel])

    kernels, stop = [], EvidenceBasedEarlyStopping(smoothing=0.5)
    model = make_model()
    history = model.fit(
        X, Y, batch_size=8, epochs=3, shuffle=False, callbacks=[Jump(), stop], verbose=0
    ).history
    a, b, c = (evidence(batch_gradients(kernel)) for kernel in kernels)
    expected = [a, (a + 2 * b) / 3, (a + 2 * b + 4 * c) / 7]
    assert history["gradient_evidence"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.thorough(LONG)
def test_one_batch_an_epoch_decides_nothing():
    stop = EvidenceBasedEarlyStopping(start_from_epoch=0)
    history = fit(make_model(), stop, epochs=1, batch_size=ROWS).history
    assert np.isnan(history["gradient_evidence"]).all()


@pytest.mark.thorough(LONG)
def test_a_second_fit_starts_from_nothing():
    model, stop = make_model(), EvidenceBasedEarlyStopping()
    first = fit(model, stop, epochs=1).history
    model.set_weights([KERNEL])
    second = fit(model, stop, epochs=1).history
    expected = evidence(batch_gradients(KERNEL))
    assert second["gradient_evidence"] == pytest.approx([expected], rel=1e-3)
    assert first["gradient_evidence"][0] < second["gradient_evidence"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"smoothing": 1}, "`smoothing` must be a number in [0, 1)"),
        ({"nonfinite": "no"}, '`nonfinite` must be "skip", "raise" or "recover"'),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        EvidenceBasedEarlyStopping(**arguments)
