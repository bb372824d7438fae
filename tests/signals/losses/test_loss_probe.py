"""The probe gives what `model.evaluate` gives, and leaves no trace."""

import copy
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_ext.signals import LossProbe
from tests.thorough import LONG

# More than are measured at once, and not a multiple of anything.
ROWS = 1101


def arrays(rows=ROWS):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3)).astype("float32")
    y = rng.normal(size=(rows, 1)).astype("float32")
    weight = rng.uniform(0, 3, size=rows).astype("float32")
    return x, y, weight


def make_model(loss="mse", **kwargs):
    """With everything that behaves differently in training, and with penalties."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, "tanh", kernel_regularizer=keras.regularizers.L2(0.1)),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(1, activity_regularizer=keras.regularizers.L1(0.1)),
        ]
    )
    model.compile("sgd", loss, **kwargs)
    return model


def evaluated(model, *data):
    """The loss that Keras gives, in batches of another size."""
    if len(data) > 1:
        x, y, weight = (*data, None)[:3]
        data = (x, y, 100, 0, weight)
        return keras_loss(model.evaluate(*data))
    return keras_loss(model.evaluate(data[0], verbose=0))


def keras_loss(results):
    return results[0] if isinstance(results, list) else results


class Batches(keras.utils.PyDataset):
    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return tuple(np.array_split(a, 12)[index] for a in self.arrays)

    def __deepcopy__(self, memo):
        raise AssertionError("Data is not to be copied.")


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_evaluate(weighted):
    data = arrays() if weighted else arrays()[:2]
    model = make_model()
    loss = evaluated(model, *data)
    assert LossProbe(data).measure(model) == pytest.approx(loss, rel=1e-5)
    assert LossProbe(list(data)).measure(model) == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_evaluate_on_datasets(weighted):
    data = arrays() if weighted else arrays()[:2]
    model = make_model()
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(256)
    for batches in (dataset, Batches(*data)):
        loss = evaluated(model, batches)
        probe = LossProbe(batches)
        assert probe.measure(model) == pytest.approx(loss, rel=1e-5)
        # Once more: a dataset is not used up.
        assert probe.measure(model) == pytest.approx(loss, rel=1e-5)


def two_in_two_out(**kwargs):
    inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((1,), name="b")}
    joined = layers.Concatenate()([inputs["a"], inputs["b"]])
    outputs = {
        "c": layers.Dense(1, name="c")(layers.Dropout(0.5)(joined)),
        "d": layers.Dense(1, name="d")(joined),
    }
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"c": "mse", "d": "mae"}, loss_weights={"c": 1, "d": 3})
    return model


@pytest.mark.thorough(LONG)
def test_equals_evaluate_on_dictionaries():
    x, y, _ = arrays()
    data = {"a": x, "b": y}, {"c": y, "d": y + 1}
    model = two_in_two_out()
    loss = evaluated(model, *data)
    assert LossProbe(data).measure(model) == pytest.approx(loss, rel=1e-5)
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(256)
    assert LossProbe(dataset).measure(model) == pytest.approx(loss, rel=1e-5)


def test_may_be_the_first_to_use_a_model():
    x, y, _ = arrays()
    data = {"a": x, "b": y}, {"c": y, "d": y + 1}
    model = two_in_two_out()
    loss = LossProbe(data).measure(model)
    assert loss == pytest.approx(evaluated(model, *data), rel=1e-5)


def test_equals_evaluate_on_lists():
    x, y, weight = arrays()
    inputs = [keras.Input((3,)), keras.Input((1,))]
    model = keras.Model(inputs, layers.Dense(1)(layers.Concatenate()(inputs)))
    model.compile("sgd", "mse")
    loss = evaluated(model, [x, y], y, weight)
    probe = LossProbe(([x, y], y, weight))
    assert probe.measure(model) == pytest.approx(loss, rel=1e-5)


def test_equals_evaluate_for_integer_classes():
    x, _, _ = arrays()
    y = np.random.default_rng(0).integers(0, 4, ROWS)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    expected = evaluated(model, x, y)
    assert LossProbe((x, y)).measure(model) == pytest.approx(expected, rel=1e-5)


def test_equals_evaluate_in_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    x, y, _ = arrays()
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, "tanh", kernel_regularizer=keras.regularizers.L2(0.1)),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    # Float16 has three digits; the rounding of a batch depends on its size.
    assert LossProbe((x, y)).measure(model) == pytest.approx(
        evaluated(model, x, y), rel=2e-3
    )


def test_equals_evaluate_on_two_replicas(strategies):
    x, y, _ = arrays()
    with strategies(2).scope():
        model = make_model()
    assert LossProbe((x, y)).measure(model) == pytest.approx(
        evaluated(model, x, y), rel=1e-5
    )


def test_takes_a_model_whose_call_knows_no_training():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)

        def call(self, inputs):
            return self.dense(inputs)

    x, y, _ = arrays()
    model = Model()
    model.compile("sgd", "mse")
    loss = evaluated(model, x, y)
    assert LossProbe((x, y)).measure(model) == pytest.approx(loss, rel=1e-5)


def test_takes_a_model_with_a_loss_of_its_own():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)

        def call(self, inputs, training=False):
            return self.dense(inputs)

        def compute_loss(self, x, y, y_pred, sample_weight, training=True):
            return keras.ops.mean(keras.ops.abs(y_pred - y)) + 10.0 * training

    x, y, _ = arrays()
    model = Model()
    model.compile("sgd")
    expected = np.mean(np.abs(model.predict(x, verbose=0) - y))
    assert LossProbe((x, y)).measure(model) == pytest.approx(expected, rel=1e-5)


def test_takes_a_model_without_metrics():
    class Model(keras.Sequential):
        @property
        def metrics(self):
            return []

    x, y, _ = arrays()
    model = Model([keras.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    expected = np.mean((model.predict(x, verbose=0) - y) ** 2)
    assert LossProbe((x, y)).measure(model) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("max_rows", "used"),
    [
        (None, range(10)),
        (1, [0]),
        (2, [0, 9]),
        (4, [0, 3, 6, 9]),
        (10, range(10)),
        (99, range(10)),
    ],
)
def test_uses_rows_that_are_spread_evenly(max_rows, used):
    model = keras.Sequential([keras.Input((1,)), layers.Dropout(0.5)])
    model.compile(loss="mse")
    # Powers of two: the loss says which rows it was made of.
    x = np.sqrt(2.0 ** np.arange(10))[:, None]
    probe = LossProbe((x, np.zeros((10, 1))), max_rows=max_rows)
    assert probe.num_rows == len(used)
    loss = probe.measure(model)
    assert loss * len(used) == pytest.approx(sum(2**i for i in used), rel=1e-6)


def test_follows_the_weights_without_being_traced_again():
    traces = []

    def loss(y_true, y_pred):
        traces.append(1)
        return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)

    x, y, _ = arrays()
    model = make_model(loss)
    probe = LossProbe((x, y))
    first = probe.measure(model)
    traced = len(traces)
    model.set_weights([2 * w for w in model.get_weights()])
    second = probe.measure(model)
    assert second != pytest.approx(first, rel=1e-2)
    assert len(traces) == traced
    assert second == pytest.approx(evaluated(model, x, y), rel=1e-5)


def test_follows_the_loss_when_the_model_is_compiled_again():
    x, y, _ = arrays()
    model = make_model("mse")
    probe = LossProbe((x, y))
    probe.measure(model)
    model.compile("sgd", "mae")
    assert probe.measure(model) == pytest.approx(evaluated(model, x, y), rel=1e-5)


def test_measures_one_model_after_another():
    x, y, _ = arrays()
    probe = LossProbe((x, y))
    a, b = make_model("mse"), make_model("mae")
    for model in (a, b, a):
        assert probe.measure(model) == pytest.approx(evaluated(model, x, y), rel=1e-5)


class Probing(keras.callbacks.Callback):
    """Measures all the time, on other data than is trained on."""

    def __init__(self, probe):
        super().__init__()
        self.probe = probe

    def on_train_batch_end(self, batch, logs=None):
        self.probe.measure(self.model)


def fitted(model, data, callbacks):
    x, y = data
    weights = model.get_weights()
    history = model.fit(
        x, y, epochs=2, batch_size=16, shuffle=False, verbose=0, callbacks=callbacks
    ).history
    after = model.get_weights()
    model.set_weights(weights)
    return history, after


@pytest.mark.thorough(LONG)
def test_does_not_disturb_a_fit():
    x, y, _ = arrays(64)
    histories, weights = [], []
    for callbacks in ([], [Probing(LossProbe((3 * x, y)))]):
        keras.utils.set_random_seed(0)
        model = make_model(metrics=["mae"], weighted_metrics=["mse"])
        history, after = fitted(model, (x, y), callbacks)
        histories.append(history)
        weights.append(after)
    assert histories[0] == histories[1]
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.thorough(LONG)
def test_does_not_disturb_the_losses_of_many_outputs():
    x, y, _ = arrays(64)
    data = {"a": x, "b": y}, {"c": y, "d": y + 1}
    probe = LossProbe(({"a": 3 * x, "b": y}, data[1]))
    histories = []
    for callbacks in ([], [Probing(probe)]):
        keras.utils.set_random_seed(0)
        history, _ = fitted(two_in_two_out(), data, callbacks)
        histories.append(history)
    assert {"loss", "c_loss", "d_loss"} <= histories[0].keys()
    assert histories[0] == histories[1]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_reports_a_loss_that_is_not_finite(value):
    model = keras.Sequential([keras.Input((1,)), layers.Dropout(0.5)])
    model.compile(loss="mae")
    x = np.array([[1.0], [value]])
    loss = LossProbe((x, np.zeros((2, 1)))).measure(model)
    np.testing.assert_equal(loss, value)


@pytest.mark.thorough(LONG)
def test_a_copy_shares_the_data_and_forgets_the_model():
    x, y, _ = arrays()
    probe = LossProbe(Batches(x, y))  # which refuses to be copied
    first, second = make_model(), make_model("mae")
    expected = probe.measure(first)
    copied = copy.deepcopy(probe)
    assert copied.measure(second) == pytest.approx(evaluated(second, x, y), rel=1e-5)
    assert copied.measure(first) == probe.measure(first) == expected
    assert copy.deepcopy(LossProbe((x, y), max_rows=7)).num_rows == 7


EXPECTED = "a tuple (x, y) or (x, y, sample_weight), a Dataset or a PyDataset"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            (np.ones((3, 1)),),
            f"`data` must be {EXPECTED}. Received: data=<ndarray of shape (3, 1), ",
        ),
        (((np.ones((3, 1)),),), f"`data` must be {EXPECTED}. Received: data=(<"),
        (((np.ones((3, 1)),) * 4,), f"`data` must be {EXPECTED}. Received: data=(<"),
        (
            ((np.ones((3, 1)), np.ones((4, 1))),),
            "`data` must be of equally many rows. Received: data=[3, 4].",
        ),
        (
            ((np.ones((0, 1)), np.ones((0, 1))),),
            "`data` must be of one row or more. Received: data='0 rows'.",
        ),
    ],
)
def test_rejects_bad_arguments(args, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        LossProbe(*args)


def test_an_empty_dataset_has_no_loss():
    x, y, _ = arrays(2)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(2).take(0)
    message = r"^`data` must be of one row or more\. Received: data='0 rows'\.$"
    with pytest.raises(ValueError, match=message):
        LossProbe(dataset).measure(make_model())
