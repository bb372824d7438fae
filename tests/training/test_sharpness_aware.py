import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.training import SharpnessAware
from tests.thorough import LONG, MATRIX, thorough_but

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 3)).astype("float32")
Y = (X @ [[1.0], [-2.0], [0.5]] + 0.3).astype("float32")
W = RNG.uniform(0.5, 2.0, 32).astype("float32")
RATE, PENALTY = 0.05, 0.1


def least_squares(**options):
    keras.utils.set_random_seed(0)
    penalty = keras.regularizers.L2(PENALTY)
    dense = keras.layers.Dense(1, kernel_regularizer=penalty)
    model = keras.Sequential([keras.Input((3,)), dense])
    model.compile(keras.optimizers.SGD(RATE), "mse", **options)
    return model


def fit(model, callbacks, data=(X, Y, W), **options):
    x, y, w = data
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    return model.fit(x, y, sample_weight=w, callbacks=callbacks, **options)


def by_numpy(weights, rho, adaptive, updates):
    """SAM on weighted least squares with an L2 penalty of the kernel."""

    def loss_and_gradients(kernel, bias, x, y, w):
        error = x @ kernel + bias - y
        loss = np.mean(w[:, None] * error**2) + PENALTY * np.sum(kernel**2)
        weighted = 2 * w[:, None] * error / len(x)
        return loss, [x.T @ weighted + 2 * PENALTY * kernel, weighted.sum(0)]

    kernel, bias = (np.float64(w) for w in weights)
    rises = []
    for i in range(updates):
        batch = [a[8 * (i % 4) :][:8].astype("float64") for a in (X, Y, W)]
        loss, gradients = loss_and_gradients(kernel, bias, *batch)
        sizes = [np.abs(kernel) + 0.01, 1.0] if adaptive else [1.0, 1.0]
        scaled = [g * t for g, t in zip(gradients, sizes, strict=True)]
        norm = np.sqrt(sum(np.sum(s**2) for s in scaled))
        e = [rho * s * t / norm for s, t in zip(scaled, sizes, strict=True)]
        higher, gradients = loss_and_gradients(kernel + e[0], bias + e[1], *batch)
        rises.append(higher - loss)
        kernel, bias = kernel - RATE * gradients[0], bias - RATE * gradients[1]
    return [kernel, bias], np.mean(rises)


WAYS = [("run_eagerly", 1), ("jit_compile", 1), ("graph", 1), ("graph", 2)]


@pytest.mark.parametrize("adaptive", thorough_but([True], [True, False]))
@pytest.mark.parametrize(("way", "replicas"), thorough_but(WAYS[1::2], WAYS))
def test_it_is_that_of_numpy(adaptive, way, replicas, strategies):
    options = {"jit_compile": False} if way == "graph" else {way: True}
    with strategies(replicas).scope():
        model = least_squares(**options)
    before = model.get_weights()
    sam = SharpnessAware(0.3, adaptive=adaptive)
    data = tf.data.Dataset.from_tensor_slices((X, Y, W)).batch(8)
    history = model.fit(data, shuffle=False, callbacks=[sam], verbose=0)
    expected, rise = by_numpy(before, 0.3, adaptive, 4)
    for ours, theirs in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert history.history["sharpness"][0] == pytest.approx(rise, rel=1e-4)
    for name in ("call", "train_step", "compute_loss", "_keras_ext_scope"):
        assert name not in vars(model)


def two_outputs(*, penalized=True, rate=0.5, **options):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    penalty = keras.regularizers.L2(0.1)
    on_outputs = penalty if penalized else None
    hidden = keras.layers.Dense(8, "relu", activity_regularizer=on_outputs)(inputs)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Dropout(rate, seed=1)(hidden)
    one = keras.layers.Dense(1, name="one", kernel_regularizer=penalty)(hidden)
    two = keras.layers.Dense(1, name="two")(hidden)
    model = keras.Model(inputs, [one, two])
    options = {"loss": ["mse", "mae"], "metrics": [["mae"], ["mse"]], **options}
    model.compile(**{"optimizer": keras.optimizers.Adam(0.01), **options})
    return model


def state(model):
    return [np.asarray(v) for v in (*model.variables, *model.optimizer.variables)]


@pytest.mark.parametrize("eagerly", thorough_but([True], [False, True]))
@pytest.mark.thorough(LONG)
def test_with_length_0_everything_is_as_without_it(eagerly):
    """Statistics, seeds, penalties of activations, metrics of each output."""
    runs = []
    for callbacks in ([], [SharpnessAware(0.0)]):
        model = two_outputs(run_eagerly=eagerly, jit_compile=False)
        data = X, [Y, Y], [W, W]
        history = fit(model, callbacks, data).history
        history.pop("sharpness", None)
        runs.append((history, state(model)))
    (history, variables), (ours, our_variables) = runs
    assert ours.keys() == history.keys()
    for name, values in history.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-6)
    for one, other in zip(our_variables, variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.thorough(LONG)
def test_files_in_between_are_those_of_the_plain_model(tmp_path):
    model, path = two_outputs(run_eagerly=True), str(tmp_path / "{epoch}.keras")
    save = keras.callbacks.ModelCheckpoint(path)
    sam = SharpnessAware(0.2)
    validation = X, [Y, Y]
    history = fit(model, [sam, save], (X, [Y, Y], None), validation_data=validation)
    loaded = keras.models.load_model(path.format(epoch=1))
    loss = loaded.evaluate(*validation, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(history.history["val_loss"][0], rel=1e-5)
    assert loss < history.history["loss"][0]


def make_callbacks():
    clip = kx.callbacks.LayerwiseAdaptiveClipping(0.05)
    return [clip, kx.callbacks.DynamicBatchSize([(1, 2)], batch_size=8)]


@pytest.mark.parametrize(
    "make",
    [least_squares, pytest.param(two_outputs, marks=pytest.mark.thorough(MATRIX))],
)
@pytest.mark.thorough(LONG)
def test_others_in_the_list_work_along_in_any_order(make):
    found = []
    data = (X, Y, None) if make is least_squares else (X, [Y, Y], None)
    for order in (1, -1):
        model = make(run_eagerly=make is least_squares, jit_compile=False)
        optimizer = model.optimizer
        callbacks = [SharpnessAware(0.1), *make_callbacks()][::order]
        history = fit(model, callbacks, data, epochs=2).history
        assert model.optimizer is optimizer
        assert int(optimizer.iterations) == 4 + 2
        assert "clip_threshold" in history
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_half_precision_and_a_loss_that_is_scaled():
    keras.utils.set_random_seed(0)
    results = []
    for policy in ("mixed_float16", "float32"):
        layers = [keras.layers.Dense(16, "relu", dtype=policy), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((3,)), *layers])
        if results:
            model.set_weights(results[0][1])
        before = model.get_weights()
        sgd = keras.optimizers.SGD(RATE)
        # So small a loss that gradients in half precision are zeros without a scale.
        scaled = keras.optimizers.LossScaleOptimizer(sgd, initial_scale=2.0**10)
        model.compile(scaled, "mse", loss_weights=1e-6, run_eagerly=True)
        sam = SharpnessAware(0.5)
        history = fit(model, [sam]).history
        results.append((history["sharpness"][0], before))
    (half, _), (single, _) = results
    assert half == pytest.approx(single, rel=0.05)
    assert half > 0


@pytest.mark.thorough(LONG)
def test_a_batch_that_is_not_finite_is_left_out_and_writes_no_statistics():
    model = two_outputs(run_eagerly=True)
    x = X.copy()
    x[9] = np.inf
    sam = SharpnessAware(0.1)
    clip = kx.callbacks.LayerwiseAdaptiveClipping()
    history = fit(model, [sam, clip], (x, [Y, Y], None)).history
    assert history["nonfinite_steps"] == [1]
    assert np.isfinite(history["sharpness"][0])
    assert all(np.all(np.isfinite(w)) for w in model.get_weights())


class OwnLoss(keras.Model):
    """Without `training`, and with the weights in it."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, use_bias=False)

    def call(self, x):
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        # It calls the model, too.
        error = keras.ops.mean((self(x) - y) ** 2)
        return error + keras.ops.sum(self.dense.kernel**2)


def test_a_loss_of_ones_own_is_taken_at_the_perturbed_weights():
    model = OwnLoss()
    model.compile(keras.optimizers.SGD(RATE), run_eagerly=True)
    model(X)
    (kernel,) = model.get_weights()
    fit(model, [SharpnessAware(0.3)], (X[:8], Y[:8], None))

    def gradient(w):
        return 2 * X[:8].T @ (X[:8] @ w - Y[:8]) / 8 + 2 * w

    g = gradient(kernel)
    expected = kernel - RATE * gradient(kernel + 0.3 * g / np.linalg.norm(g))
    np.testing.assert_allclose(model.get_weights()[0], expected, rtol=1e-5)


@pytest.mark.thorough(LONG)
def test_rho_moves_while_training_and_is_remembered(tmp_path):
    class Grow(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            sam.rho = 0.1 * (epoch + 1)

    model, sam = least_squares(run_eagerly=True), SharpnessAware(0.0)
    file = tmp_path / "model.keras"
    save = keras.callbacks.ModelCheckpoint(file)
    history = fit(model, [Grow(), sam, save], epochs=2).history
    assert history["sharpness"][0] < 0.9 * history["sharpness"][1]
    again = SharpnessAware(0.0)
    fit(keras.models.load_model(file), [again], initial_epoch=2, epochs=3)
    assert float(again.rho) == pytest.approx(0.2)


def test_a_schedule_moves_rho_by_its_path():
    model = least_squares(run_eagerly=True)
    plan = kx.callbacks.HyperparameterScheduler({"rho": [(0, 0.1), (1, 0.3)]})
    history = fit(model, [SharpnessAware(), plan], epochs=2).history
    rates = history["sharpness_aware/rho"]
    assert rates == pytest.approx([0.1, 0.3])
    assert not kx.hyper_variables(model)


def test_not_where_replicas_train_apart():
    model = least_squares()
    with pytest.raises(ValueError, match="without one for replicas"):
        fit(model, [SharpnessAware(), kx.callbacks.LocalSGD()])
    assert "train_step" not in vars(model)


@pytest.mark.thorough(MATRIX)
@pytest.mark.parametrize(
    ("policy", "replicas"), [("mixed_float16", 2), ("mixed_bfloat16", 1)]
)
def test_half_precision_finds_what_single_precision_does(policy, replicas, strategies):
    found = []
    data = tf.data.Dataset.from_tensor_slices((X, (Y, Y))).batch(8)
    for precision in (policy, "float32"):
        keras.config.set_dtype_policy(precision)
        # At the same weights, and without a scale that is too large at first.
        sgd = keras.optimizers.SGD(0.0)
        scaled = keras.optimizers.LossScaleOptimizer(sgd, initial_scale=256.0)
        options = {"optimizer": scaled, "jit_compile": False}
        try:
            with strategies(replicas).scope():
                # Keras itself cannot add penalties in half precision to a loss, and
                # draws other masks.
                model = two_outputs(penalized=False, rate=0.0, **options)
        finally:
            keras.config.set_dtype_policy("float32")
        callbacks = [SharpnessAware(0.1), *make_callbacks()]
        options = {"epochs": 2, "shuffle": False, "verbose": 0}
        found.append(model.fit(data, callbacks=callbacks, **options).history)
    half, single = found
    np.testing.assert_allclose(half["loss"], single["loss"], rtol=0.02)
    np.testing.assert_allclose(half["sharpness"], single["sharpness"], rtol=0.1)
