"""Which rows are found, told by their values; nothing is trained."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.callbacks.regularization._data_of_fit import DataOfFit

N = 40
X = np.arange(N, dtype="float32")[:, None]
Y = -X
WEIGHTS = np.ones(N, "float32")
OTHER = (X[:9] + 100, Y[:9])


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return X[10 * index :][:10], Y[10 * index :][:10]


class SeenError(Exception):
    pass


class Look(keras.callbacks.Callback):
    """Looks at the data when training begins, and ends the `fit`."""

    def __init__(self, of="training"):
        super().__init__()
        self.of = of

    def on_train_begin(self, logs=None):
        data = DataOfFit(self.model)
        self.found = [*getattr(data, f"{self.of}_rows")()]
        raise SeenError


def look(*args, of="training", **options):
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    callback = Look(of)
    with pytest.raises(SeenError):
        model.fit(*args, shuffle=False, callbacks=[callback], verbose=0, **options)
    # Nothing is held on to when `fit` has ended.
    assert not DataOfFit(model).is_known
    xs, _, weights = zip(*callback.found, strict=True)
    rows = np.concatenate(xs).ravel().tolist()
    return rows, all(w is None for w in weights)


ALL = X.ravel().tolist()
DATASET = tf.data.Dataset.from_tensor_slices((X, Y)).batch(10)


@pytest.mark.parametrize(
    ("args", "options", "rows"),
    [
        ((X, Y), {"validation_data": OTHER}, ALL),
        ((X, Y), {"validation_split": 0.3}, ALL[:28]),
        # Keras takes what is given, and does not split.
        ((X, Y), {"validation_data": OTHER, "validation_split": 0.3}, ALL),
        ((DATASET,), {"validation_data": OTHER}, ALL),
        ((Batches(),), {"validation_data": OTHER}, ALL),
        (
            (kx.data.DynamicBatches(X, Y, batch_size=8),),
            {"validation_data": OTHER},
            ALL,
        ),
        ((X, Y), {"sample_weight": WEIGHTS, "validation_data": OTHER}, ALL),
    ],
    ids=[
        "arrays",
        "split",
        "both",
        "dataset",
        "PyDataset",
        "DynamicBatches",
        "weights",
    ],
)
def test_rows_that_are_trained_on(args, options, rows):
    assert look(*args, **options) == (rows, True)


def test_weights_are_taken_if_validation_has_some_too():
    options = {"sample_weight": WEIGHTS, "validation_split": 0.3}
    assert look(X, Y, **options) == (ALL[:28], False)
    options = {"validation_data": (*OTHER, WEIGHTS[:9]), "sample_weight": WEIGHTS}
    assert look(X, Y, **options) == (ALL, False)
    weighted = tf.data.Dataset.from_tensor_slices((X, Y, WEIGHTS)).batch(10)
    assert look(weighted, validation_data=DATASET) == (ALL, True)
    assert look(weighted, validation_data=weighted) == (ALL, False)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"validation_data": OTHER}, [x + 100 for x in ALL[:9]]),
        ({"validation_split": 0.3}, ALL[28:]),
        ({"validation_data": DATASET}, ALL),
        ({"validation_data": Batches()}, ALL),
    ],
    ids=["arrays", "split", "dataset", "PyDataset"],
)
def test_rows_that_are_validated_with(options, rows):
    assert look(X, Y, of="validation", **options) == (rows, True)


def test_many_rows_are_spread_evenly():
    x = np.arange(9000, dtype="float32")[:, None]
    rows, _ = look(x, -x, validation_data=OTHER)
    assert len(rows) == 2048
    assert (rows[0], rows[-1]) == (0, 8999)
    assert np.diff(rows).max() <= 5
    endless = tf.data.Dataset.from_tensor_slices((X, Y)).batch(40).repeat()
    rows, _ = look(endless, validation_data=OTHER, steps_per_epoch=1)
    assert len(rows) == 2080


def test_rows_that_pass_once_are_asked_for():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dropout(0.1)])
    model.compile("sgd", "mse")
    adapt = kx.callbacks.AdaptiveDropout()
    stream = ((X[:8], X[:8]) for _ in range(9))
    options = {"callbacks": [adapt], "verbose": 0, "shuffle": False}
    with pytest.raises(ValueError, match=r"`train_data` must be arrays or.*Pass it to"):
        model.fit(stream, validation_data=(X, X), **options)


def test_plain_data_of_dynamic_batches_are_those_that_fit_takes():
    batches = kx.data.DynamicBatches(X, Y, batch_size=8)
    np.testing.assert_array_equal(batches.plain_data()[0], X)
    assert kx.data.DynamicBatches(X, batch_size=8).plain_data()[1] is None
    samples = tf.data.Dataset.from_tensor_slices((X, Y))
    rows = [x for x, _ in kx.data.DynamicBatches(samples, batch_size=8).plain_data()]
    np.testing.assert_array_equal(np.concatenate(rows), X)
