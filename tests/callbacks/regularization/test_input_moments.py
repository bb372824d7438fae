import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.callbacks.regularization._input_moments import InputMoments
from keras_ext.callbacks.regularization._recalibrate_batch_norm import recalibrate

RNG = np.random.default_rng(0)
# Batches of other sizes, means and variances.
BATCHES = [
    RNG.normal(mean, deviation, (rows, 3)).astype("float32")
    for rows, mean, deviation in ((7, 0.0, 1.0), (20, 3.0, 2.0), (4, -1.0, 0.1))
]


@pytest.fixture
def model():
    norms = [keras.layers.BatchNormalization(name=name) for name in "ab"]
    return keras.Sequential([keras.Input((3,)), *norms])


def test_what_is_float64_is_measured_so():
    x = 1e6 + 0.01 * RNG.normal(size=(50, 1))
    norm = keras.layers.BatchNormalization(dtype="float64")
    model = keras.Sequential([keras.Input((1,), dtype="float64"), norm])
    ((_, mean, variance),) = InputMoments(model, [norm]).measure(
        (part, None, None) for part in (x[:20], x[20:])
    )
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(variance, x.var(0), rtol=1e-5)


@pytest.mark.parametrize("in_training", [(), ("a",), ("b",)])
def test_only_the_layers_that_are_named_run_as_in_training(model, in_training):
    first, second = model.layers
    training = [model.get_layer(name) for name in in_training]
    expected = [np.concatenate(BATCHES)]
    # An instance to itself, since training moves what inference uses.
    twin = keras.models.clone_model(model).get_layer("a")
    outputs = [twin(x, training="a" in in_training) for x in BATCHES]
    expected.append(np.concatenate(outputs))
    before = model.get_weights()
    moments = InputMoments(model, [first, second], training)
    measured = moments.measure((x, None, None) for x in BATCHES)
    assert moments.norms == [first, second]
    for (count, mean, variance), inputs in zip(measured, expected, strict=True):
        np.testing.assert_array_equal(count, [31.0] * 3)
        np.testing.assert_allclose(mean, inputs.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(variance, inputs.var(0), rtol=1e-5)
    np.testing.assert_equal(model.get_weights(), before)


def test_a_layer_that_is_called_twice_has_the_moments_of_both():
    shared = keras.layers.BatchNormalization()
    inputs = keras.Input((3,))
    twice = keras.Model(inputs, [shared(inputs), shared(2.0 * inputs)])
    ((count, mean, variance),) = InputMoments(twice, [shared]).measure(
        (x, None, None) for x in BATCHES
    )
    seen = np.concatenate([factor * x for x in BATCHES for factor in (1.0, 2.0)])
    np.testing.assert_array_equal(count, [62.0] * 3)
    np.testing.assert_allclose(mean, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, seen.var(0), rtol=1e-5)


def test_masked_steps_do_not_count():
    shape = (4, 5, 2)
    x = RNG.normal(size=shape).astype("float32")
    x[1, 2:] = x[3, :] = 7.0  # what is masked
    model = keras.Sequential(
        [
            keras.Input(shape[1:]),
            keras.layers.Masking(7.0),
            keras.layers.BatchNormalization(),
        ]
    )
    norm = model.layers[-1]
    ((count, mean, variance),) = InputMoments(model, [norm]).measure([(x, None, None)])
    seen = x[(x != 7.0).all(-1)]
    np.testing.assert_array_equal(count, [len(seen)] * 2)
    np.testing.assert_allclose(mean, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, seen.var(0), rtol=1e-5)


def test_a_batch_whose_rows_are_all_masked_counts_nothing():
    x = RNG.normal(size=(4, 5, 2)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Masking(7.0),
            keras.layers.BatchNormalization(),
        ]
    )
    masked = np.full_like(x, 7.0)
    moments = InputMoments(model, [model.layers[-1]])
    for batches in ([masked, x], [x, masked]):
        (found,) = moments.measure((batch, None, None) for batch in batches)
        expected = [20.0] * 2, x.mean((0, 1)), x.var((0, 1))
        for value, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)
    before = model.get_weights()
    recalibrate(model, [model.layers[-1]], [(masked, None, None)])
    np.testing.assert_equal(model.get_weights(), before)


def test_many_models_are_no_reason_to_warn(model, caplog):
    """TensorFlow warns of traces of one function, whatever model it is for."""
    with caplog.at_level("WARNING"):
        tf.get_logger().addHandler(caplog.handler)
        for _ in range(8):
            InputMoments(model, model.layers).measure([(BATCHES[0], None, None)])
        tf.get_logger().removeHandler(caplog.handler)
    assert not caplog.records
