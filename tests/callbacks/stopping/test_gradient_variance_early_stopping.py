"""Signal and noise of a linear model, in NumPy."""

import re

import keras
import numpy as np
import pytest

from keras_ext.callbacks import DynamicBatchSize, GradientVarianceEarlyStopping
from tests.thorough import thorough_but

RNG = np.random.default_rng(3)
X = RNG.normal(size=(96, 6)).astype("float32")
KERNEL = RNG.normal(size=(6, 1)).astype("float32")
Y = X @ KERNEL + RNG.normal(size=(96, 1)).astype("float32")


def make_model(kernel, rate=0.0, **options):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(rate), "mse", **options)
    model.set_weights([kernel])
    return model


def fit(model, *callbacks, epochs=60):
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **options)


def batch_gradients(kernel):
    rows = 2 * X * (X @ kernel - Y).astype("float64")
    return rows.reshape(-1, 8, 6).mean(axis=1)


def ratio(gradients, updates=None):
    """Of the squared true gradient to the noise of an update."""
    gradients = gradients.reshape(updates or len(gradients), -1, gradients.shape[-1])
    samples = gradients.reshape(-1, gradients.shape[-1])
    if updates is None:
        noise = samples.var(axis=0, ddof=1).sum()
    else:
        noise = gradients.var(axis=1, ddof=1).mean(axis=0).sum()
    signal = np.sum(samples.mean(axis=0) ** 2) - noise / len(samples)
    return signal / (noise / gradients.shape[1])


@pytest.mark.parametrize("jit_compile", thorough_but([False], [False, True]))
def test_equals_the_definition(jit_compile):
    stop = GradientVarianceEarlyStopping()
    model = make_model(0 * KERNEL, jit_compile=jit_compile)
    history = fit(model, stop, epochs=2).history
    expected = ratio(batch_gradients(0 * KERNEL))
    assert history["grad_snr"] == pytest.approx([expected] * 2, rel=1e-4)


def test_an_update_of_several_batches_has_less_noise():
    stop = GradientVarianceEarlyStopping()
    grow = DynamicBatchSize([(0, 4)], batch_size=8)
    history = fit(make_model(0 * KERNEL), stop, grow, epochs=1).history
    expected = ratio(batch_gradients(0 * KERNEL), updates=3)
    assert history["grad_snr"] == pytest.approx([expected], rel=1e-4)


def test_stops_below_the_threshold_only():
    snr = ratio(batch_gradients(0 * KERNEL))
    for factor, epochs in ((0.99, 9), (1.01, 7)):
        stop = GradientVarianceEarlyStopping(snr * factor, patience=2, min_epochs=7)
        history = fit(make_model(0 * KERNEL), stop, epochs=9)
        assert len(history.epoch) == epochs
    assert stop.stopped_epoch == 6
    expected = rf"signal-to-noise ratio {snr:.3g} below {1.01 * snr:.3g} for 7 epochs"
    assert re.fullmatch(expected, stop.stopped_by)


def test_stops_while_training():
    stop = GradientVarianceEarlyStopping()
    history = fit(make_model(0 * KERNEL, rate=0.02), stop)
    assert 4 < stop.stopped_epoch == history.epoch[-1] < 59
    assert (np.array(history.history["grad_snr"])[-3:] < 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": -1}, "`threshold` must be a number >= 0"),
        ({"patience": 0}, "`patience` must be an integer >= 1"),
        ({"min_epochs": 0.5}, "`min_epochs` must be an integer >= 0"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GradientVarianceEarlyStopping(**arguments)
