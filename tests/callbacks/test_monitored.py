import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks._monitored import monitored, validations_ahead

X = np.ones((4, 2), "float32")


class Looks(keras.callbacks.Callback):
    """Notes what is monitored, and how many validations it is told will come."""

    def __init__(self, monitor="val_loss"):
        super().__init__()
        self.monitor, self.seen, self.ahead = monitor, [], []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(monitored(self, logs))
        self.ahead.append(validations_ahead(self.model, epoch, 5))


def fit(*callbacks, **options):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    options = {"epochs": 5, "validation_data": (X, X[:, :1]), "verbose": 0, **options}
    return model.fit(X, X[:, :1], callbacks=list(callbacks), **options).history


@pytest.mark.parametrize(
    ("every", "validated", "ahead"),
    [
        (1, [True] * 5, [4, 3, 2, 1, 0]),
        (2, [False, True, False, True, False], [2, 1, 1, 0, 0]),
        ([1, 4], [True, False, False, True, False], [1, 1, 1, 0, 0]),
    ],
)
def test_between_validations_there_is_nothing(every, validated, ahead):
    looks = Looks()
    history = fit(looks, validation_freq=every)
    assert [value is not None for value in looks.seen] == validated
    assert [v for v in looks.seen if v is not None] == history["val_loss"]
    assert looks.ahead == ahead
    # Keras itself counts so.
    assert looks.ahead[0] + validated[0] == len(history["val_loss"])


@pytest.mark.parametrize(
    ("monitor", "options"),
    [
        ("val_loss", {"validation_data": None}),
        ("val_accuracy", {}),
        ("accuracy", {"validation_freq": 2}),
    ],
)
def test_what_never_comes_is_an_error(monitor, options):
    with pytest.raises(ValueError, match=f"`monitor` must be one of .*{monitor}"):
        fit(Looks(monitor), **options)


def test_stopping_rules_count_validations():
    """A loss that rises: the strip of two is full with the second validation."""
    stop = kx.callbacks.PrecheltEarlyStopping("up", threshold=1, strip=2)
    curve = kx.callbacks.LearningCurveEarlyStopping()
    rising = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(
            {name: 1.0 + epoch for name in logs if name == "val_loss"}
        )
    )
    history = fit(rising, stop, curve, epochs=12, validation_freq=2)
    # Validations 2 and 4 end strips, of which the second has risen.
    assert stop.stopped_epoch == 7
    assert history["strips_up"][3] == 0.0
    assert len(curve._losses) == 4
