import keras
import numpy as np
import pytest
import scipy.stats

from keras_ext.callbacks import GradientNormEarlyStopping
from tests.rewind import rewound
from tests.thorough import LONG, TRAININGS, thorough_but


@rewound
def quadratic(rate=0.1, start=8.0):
    """A model whose loss is (w - 0)**2: the gradient 2 w shrinks by 1 - 2 rate."""
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(
                1, use_bias=False, kernel_initializer=keras.initializers.Constant(start)
            ),
        ]
    )
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


def fit(model, callback, epochs=100, steps=1):
    x = np.ones((4 * steps, 1))
    return model.fit(
        x, 0 * x, batch_size=4, epochs=epochs, callbacks=[callback], verbose=0
    )


def smoothed(gradients, smoothing=0.95):
    """The bias-corrected exponential average after each gradient."""
    weights = smoothing ** np.arange(len(gradients))[::-1]
    return [
        np.sum(weights[-n:] * gradients[:n]) / np.sum(weights[-n:])
        for n in range(1, len(gradients) + 1)
    ]


def test_logs_the_smoothed_norm():
    history = fit(quadratic(), GradientNormEarlyStopping(), epochs=6, steps=1).history
    norms = [2 * 8.0 * 0.8**t for t in range(6)]
    np.testing.assert_allclose(
        history["mean_gradient_norm"], smoothed(norms), rtol=1e-5
    )


@pytest.mark.parametrize("relative", [True, False])
def test_stops_where_the_closed_form_says(relative):
    norms = np.array(smoothed([2 * 8.0 * 0.8**t for t in range(100)]))
    limit = 0.3 * (norms.max() if relative else 1.0)
    expected = int(np.flatnonzero(norms < limit)[0]) + 2  # three epochs below
    callback = GradientNormEarlyStopping(0.3, relative=relative, patience=3)
    history = fit(quadratic(), callback)
    assert callback.stopped_epoch == expected == history.epoch[-1]
    assert "below" in callback.stopped_by


@pytest.mark.thorough(LONG)
def test_patience_counts_from_start_from_epoch():
    options = {"relative": False, "patience": 2}
    for start in (0, 5):
        callback = GradientNormEarlyStopping(1e9, start_from_epoch=start, **options)
        assert len(fit(quadratic(), callback).epoch) == start + 2


@pytest.mark.thorough(LONG)
def test_the_peak_may_be_before_start_from_epoch():
    norms = np.array(smoothed([2 * 8.0 * 0.8**t for t in range(100)]))
    below = int(np.flatnonzero(norms < 0.3 * norms.max())[0])
    callback = GradientNormEarlyStopping(0.3, patience=1, start_from_epoch=below)
    fit(quadratic(), callback)
    assert callback.stopped_epoch == below


def test_does_not_stop_above_the_threshold():
    callback = GradientNormEarlyStopping(1e-6)
    assert len(fit(quadratic(), callback, epochs=12).epoch) == 12
    assert callback.stopped_epoch is None
    assert callback.stopped_by is None


def test_a_second_fit_starts_from_nothing():
    callback = GradientNormEarlyStopping(
        1e9, relative=False, patience=1, start_from_epoch=0
    )
    fit(quadratic(), callback)
    assert callback.stopped_epoch == 0
    callback.threshold = 1e-9
    fit(quadratic(), callback, epochs=2)
    assert callback.stopped_epoch is None


@pytest.mark.parametrize("restore", [True, False])
def test_restores_the_weights_with_the_smallest_norm(restore):
    # The learning rate rises, so that the weight first shrinks and then grows.
    model = quadratic(rate=0.4)
    callback = GradientNormEarlyStopping(
        1e9,
        relative=False,
        patience=10,
        start_from_epoch=0,
        restore_best_weights=restore,
    )

    class Diverge(keras.callbacks.Callback):
        seen = []

        def on_epoch_begin(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.4 if epoch < 3 else 3.0

        def on_epoch_end(self, epoch, logs=None):
            self.seen.append(self.model.get_weights()[0].item())

    x = np.ones((4, 1))
    diverge = Diverge()
    history = model.fit(
        x, 0 * x, epochs=20, callbacks=[diverge, callback], verbose=0
    ).history
    best = int(np.argmin(history["mean_gradient_norm"]))
    assert best < len(diverge.seen) - 1
    expected = diverge.seen[best if restore else -1]
    assert model.get_weights()[0].item() == pytest.approx(expected)


@pytest.mark.thorough(LONG)
def test_stops_when_the_norm_no_longer_falls():
    class Level(keras.callbacks.Callback):
        """The weight falls for ten epochs, and then goes up and down."""

        def on_epoch_begin(self, epoch, logs=None):
            weight = max(12.0 - epoch, 2.0 + (-1) ** epoch * (1.0 + epoch % 3))
            self.model.set_weights([np.full((1, 1), weight)])

    # Without smoothing over epochs: each has many updates at the same weight.
    stop = GradientNormEarlyStopping(trend=8, patience=2)
    model = quadratic(rate=0.0)
    x = np.ones((400, 1))
    callbacks = [Level(), stop]
    history = model.fit(
        x, 0 * x, batch_size=4, epochs=60, callbacks=callbacks, verbose=0
    )
    norms = history.history["mean_gradient_norm"]
    chances = [
        scipy.stats.kendalltau(
            np.arange(8), norms[i - 8 : i], alternative="less", method="exact"
        ).pvalue
        for i in range(8, len(norms) + 1)
    ]
    ends = [i for i, p in enumerate(chances, start=7) if p > 0.3]
    assert history.epoch[-1] == stop.stopped_epoch == ends[1] == ends[0] + 1
    assert stop.stopped_by.startswith("gradient norms of 8 epochs without a falling")


@pytest.mark.thorough(LONG)
def test_while_the_norm_falls_the_trend_does_not_stop():
    stop = GradientNormEarlyStopping(trend=4, patience=1, start_from_epoch=0)
    assert len(fit(quadratic(), stop, epochs=30).epoch) == 30


def noisy_linear(jit_compile=False):
    """Linear data with much noise, and a model at the minimum of its loss."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(480, 4)).astype("float32")
    y = (x @ rng.normal(size=(4, 1)) + 3 * rng.normal(size=(480, 1))).astype("float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=jit_compile)
    return model, x, y


@pytest.mark.parametrize("jit_compile", thorough_but([False], [False, True]))
@pytest.mark.parametrize("distance", [0.0, 2.0])
def test_without_the_bias_of_the_noise(distance, jit_compile):
    model, x, y = noisy_linear(jit_compile)
    kernel = np.linalg.lstsq(x, y, rcond=None)[0] + distance
    model.set_weights([kernel])
    gradients = (2 * x * (x @ kernel - y)).reshape(-1, 8, 4).mean(axis=1)
    noise = gradients.var(axis=0, ddof=1).sum()
    square = np.sum(gradients.mean(axis=0) ** 2) - noise / len(gradients)
    logged = []
    for debias in (False, True):
        stop = GradientNormEarlyStopping(debias=debias)
        options = {"batch_size": 8, "shuffle": False, "verbose": 0}
        history = model.fit(x, y, callbacks=[stop], **options).history
        logged += history["mean_gradient_norm"]
    assert logged[1] == pytest.approx(max(square, 0) ** 0.5, rel=1e-3)
    # What the noise of a batch alone makes of a gradient of zero.
    assert logged[0] > noise**0.5 / 2
    assert (logged[1] == 0.0) == (distance == 0.0)


@pytest.mark.thorough(TRAININGS)
def test_without_bias_it_stops_where_with_bias_it_does_not():
    model, x, y = noisy_linear()
    for debias in (True, False):
        model.set_weights([np.zeros((4, 1))])
        model.optimizer.learning_rate = 0.02
        stop = GradientNormEarlyStopping(0.2, debias=debias)
        epochs = model.fit(
            x, y, batch_size=8, epochs=20, callbacks=[stop], verbose=0
        ).epoch
        assert (len(epochs) < 20) == debias


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0}, r"`threshold` must be a number > 0\. Received: threshold=0"),
        ({"threshold": 1.5}, r"must be a number < 1 when relative=True"),
        ({"threshold": "low"}, r"Received: threshold='low'"),
        ({"relative": "yes"}, r"`relative` must be True or False"),
        ({"debias": 1}, r"`debias` must be True or False"),
        ({"trend": 3}, r"`trend` must be an integer >= 4 or None"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientNormEarlyStopping(**arguments)
