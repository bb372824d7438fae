import copy

import keras
import numpy as np
import pytest

from keras_ext.callbacks import RecalibrateBatchNorm
from tests.thorough import LONG, MATRIX

RNG = np.random.default_rng(0)
X = RNG.normal(2.0, 3.0, size=(600, 6)).astype("float32")
Y = X[:, :1]


def norm(**options):
    return keras.layers.BatchNormalization(**options)


def make_model(*norms, dropout=0.5, **options):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6,))]
    for layer in norms:
        layers += [
            keras.layers.Dropout(dropout),
            keras.layers.Dense(5, "relu"),
            layer,
        ]
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-3), "mse", **options)
    return model


def fit(model, callback, x=X, y=Y, **options):
    options = {"epochs": 2, "batch_size": 50, "verbose": 0, **options}
    return model.fit(x, y, callbacks=[callback], **options)


def inputs_of(model, layer, x=X):
    """What a layer of a sequential model gets in inference mode."""
    for before in model.layers[: model.layers.index(layer)]:
        x = before(x, training=False)
    return np.asarray(x)


def assert_calibrated(model, layer, x=X, **tolerance):
    inputs = inputs_of(model, layer, x).reshape(-1, 5)
    tolerance = {"rtol": 1e-4, "atol": 1e-6, **tolerance}
    np.testing.assert_allclose(layer.moving_mean, inputs.mean(0), **tolerance)
    np.testing.assert_allclose(layer.moving_variance, inputs.var(0), **tolerance)


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"jit_compile": True}, marks=pytest.mark.thorough(MATRIX)),
        pytest.param({"run_eagerly": True}, marks=pytest.mark.thorough(MATRIX)),
    ],
)
@pytest.mark.thorough(LONG)
def test_statistics_are_those_of_the_inputs_of_each_layer(options):
    """Of the later ones too, which see what the earlier ones make of their new ones."""
    norms = [norm(), norm()]
    model = make_model(*norms, **options)
    fit(model, RecalibrateBatchNorm((X, Y)), X[:100], Y[:100])
    for layer in norms:
        assert_calibrated(model, layer)
    plain_norms = [norm(), norm()]
    plain = make_model(*plain_norms, **options)
    fit(plain, keras.callbacks.Callback(), X[:100], Y[:100])
    with pytest.raises(AssertionError):
        assert_calibrated(plain, plain_norms[0], rtol=0.1)
    # The weights are those of a training without it; nothing is left on the layers.
    for ours, theirs in zip(
        model.trainable_variables, plain.trainable_variables, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert all("call" not in vars(layer) for layer in model.layers)


def test_the_validation_of_the_epoch_is_made_with_the_new_statistics():
    model = make_model(norm())
    callback = RecalibrateBatchNorm((X, Y), every_epochs=2)
    history = fit(
        model, callback, epochs=2, validation_data=(X, Y), validation_batch_size=600
    ).history
    assert history["val_loss"][1] == pytest.approx(model.evaluate(X, Y, verbose=0))
    again = make_model(norm())
    late = RecalibrateBatchNorm((X, Y))
    history = fit(again, late, epochs=2, validation_data=(X, Y)).history
    assert history["val_loss"][1] != pytest.approx(again.evaluate(X, Y, verbose=0))


@pytest.mark.thorough(LONG)
def test_every_epoch_without_validation():
    model = make_model(norm())
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            layer = self.model.layers[2]
            mean = inputs_of(self.model, layer).mean(0)
            seen.append(np.allclose(layer.moving_mean, mean, rtol=1e-4, atol=1e-5))

    callbacks = [RecalibrateBatchNorm((X, Y), every_epochs=2), Look()]
    model.fit(X, Y, epochs=4, callbacks=callbacks, verbose=0)
    assert seen == [False, True, False, True]


@pytest.mark.thorough(LONG)
def test_a_shared_layer_counts_all_that_it_gets_and_a_mask_leaves_out():
    inputs = keras.Input((4, 5))
    masked = keras.layers.Masking()(inputs)
    shared = norm()
    doubled = keras.layers.ReLU(negative_slope=2.0)(masked)
    outputs = keras.layers.Concatenate(axis=1)([shared(masked), shared(doubled)])
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = -np.abs(RNG.normal(1.0, 2.0, size=(30, 4, 5))).astype("float32")
    x[:10, 2:] = 0.0
    y = np.zeros((30, 8, 5), "float32")
    fit(model, RecalibrateBatchNorm((x, y)), x, y)
    real = x.reshape(-1, 5)[(x != 0).any(-1).ravel()]
    expected = np.concatenate([real, 2 * real])
    np.testing.assert_allclose(shared.moving_mean, expected.mean(0), rtol=1e-4)
    np.testing.assert_allclose(shared.moving_variance, expected.var(0), rtol=1e-4)


def test_layers_in_models_inside_the_model():
    layer = norm()
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5), layer])
    model = keras.Sequential([keras.Input((6,)), inner])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    fit(model, RecalibrateBatchNorm((X, Y)))
    expected = np.asarray(inner.layers[0](X))
    np.testing.assert_allclose(layer.moving_variance, expected.var(0), rtol=1e-4)


def test_channels_first_and_convolutions():
    layer = norm(axis=1)
    model = keras.Sequential([keras.Input((3, 4, 5)), layer])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = RNG.normal(1.0, 2.0, size=(20, 3, 4, 5)).astype("float32")
    fit(model, RecalibrateBatchNorm((x, x)), x, x)
    np.testing.assert_allclose(layer.moving_mean, x.mean((0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, x.var((0, 2, 3)), rtol=1e-4)


@pytest.mark.thorough(LONG)
def test_mixed_precision_and_frozen_layers():
    keras.config.set_dtype_policy("mixed_float16")
    frozen = norm(trainable=False)
    live = norm()
    model = make_model(frozen, live)
    fit(model, RecalibrateBatchNorm((X, Y)))
    np.testing.assert_array_equal(frozen.moving_mean, np.zeros(5))
    inputs = inputs_of(model, live).astype("float32")
    np.testing.assert_allclose(live.moving_mean, inputs.mean(0), rtol=0.01, atol=0.01)


@pytest.mark.thorough(LONG)
def test_max_rows_and_two_replicas(strategies):
    with strategies(2).scope():
        layer = norm()
        model = make_model(layer)
    fit(model, RecalibrateBatchNorm((X, Y), max_rows=100))
    rows = X[np.linspace(0, 599, 100).round().astype(int)]
    assert_calibrated(model, layer, rows)


@pytest.mark.thorough(LONG)
def test_can_be_copied_after_a_fit():
    callback = RecalibrateBatchNorm((X, Y))
    fit(make_model(norm()), callback)
    layer = norm()
    model = make_model(layer)
    fit(model, copy.deepcopy(callback))
    assert_calibrated(model, layer)


def test_needs_batch_normalization():
    with pytest.raises(ValueError, match="`model` must be one with a trainable Batch"):
        fit(make_model(), RecalibrateBatchNorm((X, Y)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_epochs": 0}, "`every_epochs` must be an integer >= 1 or None"),
        ({"max_rows": 0}, "`max_rows` must be an integer >= 1 or None"),
        ({"train_data": X}, "`train_data` must be a tuple"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RecalibrateBatchNorm(**{"train_data": (X, Y), **arguments})


def test_rows_of_fit_are_taken_as_if_they_were_given():
    found = []
    for data in (None, (X[:300], Y[:300])):
        layer = norm()
        model = make_model(layer, run_eagerly=True)
        callback = RecalibrateBatchNorm(data, max_rows=100)
        fit(model, callback, epochs=1, validation_split=0.5)
        found.append(np.array(layer.moving_variance))
    np.testing.assert_array_equal(*found)


def test_data_that_cannot_be_read_again_are_refused_before_the_training():
    model = make_model(norm())
    batches = ((X[:50], Y[:50]) for _ in range(9))
    with pytest.raises(ValueError, match="cannot be read a second time. Pass it to"):
        model.fit(batches, shuffle=False, callbacks=[RecalibrateBatchNorm()], verbose=0)


def test_data_that_are_set_later_are_used():
    layer = norm()
    model = make_model(layer)
    callback = RecalibrateBatchNorm((X[:50], Y[:50]), max_rows=9)
    callback.train_data, callback.max_rows = (X, Y), None
    fit(model, callback, X[:50], Y[:50], epochs=1)
    assert_calibrated(model, layer)
