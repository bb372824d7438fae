"""A batch that is left out leaves nothing behind in layers and metrics."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext._engine._rollback import written_by_batches
from tests.thorough import LONG

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 6)).astype("float32")
Y = RNG.normal(size=(96, 3)).astype("float32")


def make_model(accumulation_steps=None, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dropout(0.25, seed=3, name="dropout"),
            keras.layers.Dense(3),
        ]
    )
    optimizer = keras.optimizers.SGD(0.1)
    if accumulation_steps is not None:
        optimizer = kx.optimizers.GradientPipeline(
            optimizer, accumulation_steps=accumulation_steps
        )
    model.compile(optimizer, "mse", metrics=["mae"], **options)
    return model


def fit(model, x, *callbacks, rows=slice(None), batch_size=16):
    data = tf.data.Dataset.from_tensor_slices((x[rows], Y[rows])).batch(batch_size)
    return model.fit(data, shuffle=False, callbacks=list(callbacks), verbose=0).history


def bad(number=np.nan):
    x = X.copy()
    x[40, 2] = number
    return x


# The batch with the bad row is the third of six; without it, five are left.
GOOD = np.r_[0:32, 48:96]


@pytest.mark.parametrize(
    ("number", "options"),
    [
        (np.nan, {}),
        (np.inf, {"jit_compile": True}),
        (np.nan, {"run_eagerly": True}),
        (np.nan, {"steps_per_execution": 3}),
    ],
)
@pytest.mark.thorough(LONG)
def test_nothing_is_broken_afterwards(number, options):
    model = make_model(**options)
    clip = kx.callbacks.LayerwiseAdaptiveClipping()
    history = fit(model, bad(number), clip)
    assert history["nonfinite_steps"] == [1]
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert np.isfinite([history["loss"][0], history["mae"][0]]).all()
    assert np.isfinite(model.predict(X, verbose=0)).all()


def test_a_loss_that_is_zero_is_told_as_zero():
    """Zeros are what the logs of an epoch have, too, if all of it was left out."""
    layer = keras.layers.Dense(3, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((6,)), layer])
    model.compile("sgd", "mse", run_eagerly=True)
    clip = kx.callbacks.LayerwiseAdaptiveClipping()
    history = model.fit(X, 0 * Y, verbose=0, callbacks=[clip]).history
    assert history["loss"] == [0.0]


@pytest.mark.parametrize("replicas", [1, 2])
def test_as_if_the_batch_had_not_been_there(strategies, replicas):
    results = []
    for x, rows in ((bad(), slice(None)), (X, GOOD)):
        with strategies(replicas).scope():
            model = make_model()
            model.get_layer("dropout").rate = 0.0
        history = fit(model, x, kx.callbacks.LayerwiseAdaptiveClipping(), rows=rows)
        results.append([*model.get_weights(), history["loss"], history["mae"]])
    for a, e in zip(*results, strict=True):
        np.testing.assert_allclose(a, e, atol=1e-6)


@pytest.mark.thorough(LONG)
def test_with_accumulation_the_whole_update_is_taken_back():
    grow = [(0, 2)]
    results = []
    # Of the updates of two batches, the second holds the bad row.
    for x, rows in ((bad(), slice(None)), (X, np.r_[0:32, 64:96])):
        model = make_model()
        model.get_layer("dropout").rate = 0.0
        callback = kx.callbacks.DynamicBatchSize(grow, batch_size=16)
        history = fit(model, x, callback, rows=rows)
        results.append([*model.get_weights(), history["loss"]])
    for a, e in zip(*results, strict=True):
        np.testing.assert_allclose(a, e, atol=1e-6)


def grow():
    """Updates of four batches, of which an epoch of 96 rows has one and a half."""
    return kx.callbacks.DynamicBatchSize([(0, 4)], batch_size=16)


def test_an_update_that_is_never_complete_leaves_nothing_broken():
    model = make_model()
    x = X.copy()
    x[90] = np.nan  # in the second of two batches that wait for others in the end
    history = fit(model, x, grow())
    assert np.isfinite(history["loss"]).all()
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize(("steps", "callbacks"), [(None, [grow]), (4, [])])
def test_metrics_do_not_go_back_to_another_epoch(steps, callbacks):
    # The update that begins with the last two batches of the first epoch is left out
    # in the second one, of which the other four batches are left.
    x, y = np.tile(X, (2, 1)), np.concatenate([Y, 3 * Y])
    x[90] = np.nan
    losses = []
    for rows, accumulated, makers, options in (
        (slice(None), steps, callbacks, {"epochs": 2, "steps_per_epoch": 6}),
        (slice(128, None), None, [], {}),
    ):
        model = make_model(accumulated)
        model.get_layer("dropout").rate = 0.0
        model.optimizer.learning_rate = 0.0
        data = tf.data.Dataset.from_tensor_slices((x[rows], y[rows])).batch(16)
        made = [make() for make in makers]
        options |= {"shuffle": False, "callbacks": made, "verbose": 0}
        losses.append(model.fit(data, **options).history["loss"][-1])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    "callback", [kx.callbacks.LayerwiseDecay, kx.callbacks.LocalSGD]
)
def test_an_epoch_of_which_nothing_is_left_has_no_loss(callback):
    seen = []
    model = make_model()
    first = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(dict(logs))
    )
    history = fit(model, X * np.nan, first, callback())
    assert np.isnan([seen[0]["loss"], seen[0]["mae"]]).all()
    assert np.isnan([history["loss"][0], history["mae"][0]]).all()
    assert history["nonfinite_steps"] == [6]
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("replicas", [1, 2])
def test_replicas_that_step_alone_take_it_back_too(strategies, replicas):
    results = []
    for x, rows in ((bad(), slice(None)), (X, GOOD)):
        with strategies(replicas).scope():
            model = make_model()
            model.get_layer("dropout").rate = 0.0
        history = fit(model, x, kx.callbacks.LocalSGD(1), rows=rows)
        results.append([*model.get_weights(), history["loss"], history["mae"]])
    for a, e in zip(*results, strict=True):
        np.testing.assert_allclose(a, e, atol=1e-6)


def test_frozen_weights_are_not_copied_in_every_step():
    model = make_model()
    for layer in model.layers:
        layer.trainable = False
    names = {v.name for v in written_by_batches(model)}
    assert {"moving_mean", "moving_variance"} <= names
    assert not names & {"kernel", "bias", "gamma", "beta"}


@pytest.mark.parametrize("steps", [1, 2])
def test_a_pipeline_in_compile_takes_it_back_too(steps):
    good = GOOD if steps == 1 else np.r_[0:32, 64:96]
    results = []
    for x, rows in ((bad(), slice(None)), (X, good)):
        model = make_model(steps)
        model.get_layer("dropout").rate = 0.0
        losses = [fit(model, x, rows=rows)["loss"] for _ in range(2)]
        results.append([*model.get_weights(), *losses])
    for a, e in zip(*results, strict=True):
        np.testing.assert_allclose(a, e, atol=1e-6)
    assert "train_step" not in vars(model)


@pytest.mark.thorough(LONG)
def test_train_on_batch_takes_it_back_and_is_traced_once():
    model = make_model(1)
    model.train_on_batch(X[:16], Y[:16])
    traced, before = model.train_function, model.get_weights()
    model.train_on_batch(bad()[32:48], Y[32:48])
    assert model.train_function is traced
    for a, e in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, e)


@pytest.mark.thorough(LONG)
def test_a_gate_that_refuses_takes_it_back_too():
    class Never(kx.gradients.UpdateGate):
        def admits(self, squared_norms, variables, finite):
            return False

    class Gate(kx.callbacks.GradientCallback):
        def install(self, pipeline):
            pipeline.add_transform(Never())

    model = make_model()
    before = [w.copy() for w in model.get_weights()]
    fit(model, X, Gate())
    for a, e in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, e)


@pytest.mark.thorough(LONG)
def test_what_batches_write():
    model = make_model()
    fit(model, X)
    dropout = model.get_layer("dropout")
    kx.make_live(model)
    names = [v.name for v in written_by_batches(model)]
    assert {"moving_mean", "moving_variance"} <= set(names)
    # The draws and the rate go on.
    assert dropout.seed_generator.state.name not in names
    assert "rate" not in names
    assert len(names) > 4  # those of the metrics
