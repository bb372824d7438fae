import keras
import numpy as np
import pytest

from keras_ext.callbacks import GradientNormEarlyStopping


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
    np.testing.assert_allclose(history["grad_norm"], smoothed(norms), rtol=1e-5)


@pytest.mark.parametrize("relative", [True, False])
def test_stops_where_the_closed_form_says(relative):
    norms = np.array(smoothed([2 * 8.0 * 0.8**t for t in range(100)]))
    limit = 0.3 * (norms.max() if relative else 1.0)
    expected = int(np.flatnonzero(norms < limit)[0]) + 2  # three epochs below
    callback = GradientNormEarlyStopping(0.3, relative, patience=3)
    history = fit(quadratic(), callback)
    assert callback.stopped_epoch == expected == history.epoch[-1]
    assert "below" in callback.stopped_by


def test_min_epochs_and_patience():
    callback = GradientNormEarlyStopping(1e9, relative=False, patience=2, min_epochs=0)
    assert len(fit(quadratic(), callback).epoch) == 2
    callback = GradientNormEarlyStopping(1e9, relative=False, patience=2, min_epochs=7)
    assert len(fit(quadratic(), callback).epoch) == 7


def test_does_not_stop_above_the_threshold():
    callback = GradientNormEarlyStopping(1e-6)
    assert len(fit(quadratic(), callback, epochs=12).epoch) == 12
    assert callback.stopped_epoch is None
    assert callback.stopped_by is None


def test_a_second_fit_starts_from_nothing():
    callback = GradientNormEarlyStopping(1e9, relative=False, patience=1, min_epochs=1)
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
        1e9, False, patience=10, min_epochs=10, restore_best_weights=restore
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
    best = int(np.argmin(history["grad_norm"]))
    assert best < len(diverge.seen) - 1
    expected = diverge.seen[best if restore else -1]
    assert model.get_weights()[0].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0}, r"`threshold` must be a number > 0\. Received: threshold=0"),
        ({"threshold": 1.5}, r"must be a number < 1 when relative=True"),
        ({"threshold": "low"}, r"Received: threshold='low'"),
        ({"patience": 0}, r"`patience` must be an integer >= 1"),
        ({"patience": 1.5}, r"`patience` must be an integer >= 1"),
        ({"min_epochs": -1}, r"`min_epochs` must be an integer >= 0"),
        ({"relative": "yes"}, r"`relative` must be True or False"),
        ({"restore_best_weights": 1}, r"`restore_best_weights` must be True or False"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientNormEarlyStopping(**arguments)
