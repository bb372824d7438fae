"""Changes of predictions that are set by hand."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.callbacks import LabelWaveEarlyStopping
from tests.thorough import LONG, MATRIX

ROWS = 20
X = np.eye(ROWS, dtype="float32")


class Script(keras.callbacks.Callback):
    """Makes so many predictions change at the end of each epoch.

    The row of the kernel that belongs to a row of the data says its class.
    """

    def __init__(self, changes, classes=2):
        super().__init__()
        self.changes = changes
        self.labels = np.zeros(ROWS, int)
        self.classes = classes

    def on_epoch_end(self, epoch, logs=None):
        if epoch > 0:
            self.labels[: self.changes[epoch - 1]] += 1
        kernel = np.zeros((ROWS, self.classes), "float32")
        kernel[np.arange(ROWS), self.labels % self.classes] = 1.0
        if self.classes == 2 and self.model.output_shape[-1] == 1:
            kernel = kernel[:, 1:]
        self.model.set_weights([kernel])


def fit(stop, changes, outputs=2, **options):
    layer = keras.layers.Dense(outputs, use_bias=False)
    model = keras.Sequential([keras.Input((ROWS,)), layer])
    model.compile(keras.optimizers.SGD(0.0), "mse", **options)
    script = Script(changes, max(outputs, 2))
    history = model.fit(
        X,
        np.zeros((ROWS, outputs)),
        epochs=len(changes) + 1,
        callbacks=[script, stop],
        verbose=0,
    )
    return model, history.history


#          after epoch 1  2  3  4  5  6  7  8
CHANGES = [10, 8, 6, 4, 3, 5, 7, 9]


def averages(changes, window):
    return [
        np.mean(changes[i - window : i]) / ROWS for i in range(window, len(changes) + 1)
    ]


@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.thorough(LONG)
def test_stops_after_the_first_minimum(outputs):
    stop = LabelWaveEarlyStopping((X, X))
    _, history = fit(stop, CHANGES, outputs)
    # Averages of three: 8, 6, 4.33, 4, 5, of which 4 belongs to epoch 6.
    logged = history["label_changes"]
    assert np.isnan(logged[:3]).all()
    assert logged[3:] == pytest.approx(averages(CHANGES, 3)[:5])
    assert stop.stopped_epoch == 7
    assert "0.25 of them an epoch, after a minimum of 0.2" in stop.stopped_by


@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.thorough(LONG)
def test_restores_the_weights_at_the_minimum(restore):
    stop = LabelWaveEarlyStopping((X, X), window=1, restore_best_weights=restore)
    model, history = fit(stop, CHANGES)
    assert stop.stopped_epoch == 6  # 5 changes, after 3 in epoch 5
    script = Script(CHANGES)
    for count in CHANGES[: 5 if restore else 6]:
        script.labels[:count] += 1
    np.testing.assert_array_equal(
        model.get_weights()[0].argmax(axis=1), script.labels % 2
    )


@pytest.mark.thorough(LONG)
def test_patience():
    stop = LabelWaveEarlyStopping((X, X), window=1, patience=2)
    fit(stop, [8, 4, 5, 3, 6, 7, 9])
    assert stop.stopped_epoch == 6
    assert stop.stopped_by.endswith("for 2 epochs")


@pytest.mark.thorough(LONG)
def test_a_rise_at_the_start_is_no_minimum():
    stop = LabelWaveEarlyStopping((X, X), window=1)
    fit(stop, [2, 5, 9, 7, 3, 4])
    assert stop.stopped_epoch == 6


@pytest.mark.thorough(LONG)
def test_predictions_that_stay_do_not_stop_training():
    stop = LabelWaveEarlyStopping((X, X), window=1)
    fit(stop, [5, 2, 0, 0, 0, 0, 0])
    assert stop.stopped_epoch is None


@pytest.mark.thorough(LONG)
def test_datasets_and_rows():
    data = tf.data.Dataset.from_tensor_slices((X, X)).batch(7)
    _, history = fit(LabelWaveEarlyStopping(data, window=1), CHANGES)
    assert history["label_changes"][1:3] == pytest.approx([0.5, 0.4])
    # Of the rows 0, 6, 13 and 19, one changes first, and then all but the last.
    _, history = fit(
        LabelWaveEarlyStopping((X, X), window=1, max_rows=4), [6, 14, 1, 2]
    )
    assert history["label_changes"][1:3] == pytest.approx([0.25, 0.75])


def test_rows_of_fit_are_taken_as_if_they_were_given():
    found = []
    for data in (None, (X, X)):
        stop = LabelWaveEarlyStopping(data, window=1, max_rows=4)
        found.append(fit(stop, [6, 14, 1, 2], run_eagerly=True)[1]["label_changes"])
    np.testing.assert_array_equal(*found)


@pytest.mark.thorough(MATRIX)
def test_two_replicas(strategies):
    logged = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            _, history = fit(LabelWaveEarlyStopping((X, X), window=1), CHANGES[:4])
        logged.append(history["label_changes"])
    np.testing.assert_array_equal(*logged)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_data": X}, "`train_data` must be a tuple (x, y)"),
        ({"window": 0}, "`window` must be an integer >= 1"),
        ({"boundary": "half"}, "`boundary` must be a number"),
        ({"max_rows": 0}, "`max_rows` must be an integer >= 1 or None"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        LabelWaveEarlyStopping(**{"train_data": (X, X), **arguments})
