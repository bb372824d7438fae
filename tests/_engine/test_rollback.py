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


def make_model(**options):
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
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"], **options)
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
