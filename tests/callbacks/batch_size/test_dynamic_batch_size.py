import functools
import itertools
from copy import deepcopy

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.callbacks import DynamicBatchSize
from keras_ext.controllers.batch_size import (
    CABS,
    AdaBatch,
    AdAdaGrad,
    BatchSizePolicy,
    DontDecayLearningRate,
    GradientDiversity,
    InnerProductTest,
    Interleaved,
    Measured,
    NoiseScale,
    NormTest,
    OnPlateau,
    Staged,
)
from keras_ext.controllers.batch_size._adascale_gain import adascale_gain
from keras_ext.data import DynamicBatches
from keras_ext.optimizers import GradientPipeline, Lookahead
from tests.thorough import LONG, MATRIX, STATISTICS, thorough_but

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 4)).astype("float32")
Y = RNG.normal(size=(96, 1)).astype("float32")


def make_model(rate=0.05):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), "mse")
    return model


def test_is_the_large_batch_in_the_later_epochs():
    grown, split = make_model(), make_model()
    history = grown.fit(
        X,
        Y,
        batch_size=8,
        epochs=4,
        shuffle=False,
        callbacks=[DynamicBatchSize([(1, 2), (3, 4)], batch_size=8)],
        verbose=0,
    )
    assert history.history["batch_size"] == [8, 16, 16, 32]
    for size, epochs in ((8, 1), (16, 2), (32, 1)):
        split.fit(X, Y, batch_size=size, epochs=epochs, shuffle=False, verbose=0)
    np.testing.assert_allclose(*[m.get_weights()[0] for m in (grown, split)], atol=1e-6)
    assert int(grown.optimizer.iterations) == 12 + 6 + 6 + 3


@pytest.mark.parametrize("told", [8, None])
def test_an_optimizer_that_accumulates_by_itself_makes_updates_as_many_times_as_large(
    told,
):
    grown, split = make_model(), make_model()
    sgd = keras.optimizers.SGD(0.05, momentum=0.9)
    grown.compile(GradientPipeline(sgd, accumulation_steps=2), "mse")
    measured = []

    class Double(BatchSizePolicy):
        def update(self, known):
            measured.append((known.batch_size, known.initial_batch_size))
            return 16 * 2**known.epoch

    data = {"x": X, "y": Y, "shuffle": False, "verbose": 0}
    grow = DynamicBatchSize(Double(), batch_size=told)
    history = grown.fit(**data, batch_size=8, epochs=2, callbacks=[grow]).history
    assert history["batch_size"] == [16, 32]
    assert measured == [(16, 16), (16, 16)]
    for size in (16, 32):
        split.fit(**data, batch_size=size)
    np.testing.assert_allclose(*[m.get_weights()[0] for m in (grown, split)], atol=1e-6)
    assert int(grown.optimizer.iterations) == 6 + 3


def test_batches_that_are_left_make_a_last_update():
    """Five batches of which four make an update; the fifth must not be lost."""
    model = make_model()
    model.fit(
        X[:40],
        Y[:40],
        batch_size=8,
        shuffle=False,
        callbacks=[DynamicBatchSize([(0, 4)], batch_size=8)],
        verbose=0,
    )
    assert int(model.optimizer.iterations) == 2


def noisy_data(noise, size=2048):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, 4)).astype("float32")
    return x, x @ np.ones((4, 1)) + noise * rng.normal(size=(size, 1))


def test_grows_with_the_noise_scale_up_to_the_limit():
    """At the optimum of a regression the gradient is noise, and so the scale grows."""
    history = (
        make_model(rate=0.01)
        .fit(
            *noisy_data(1.0),
            batch_size=16,
            epochs=6,
            callbacks=[
                DynamicBatchSize("noise_scale", batch_size=16, max_batch_size=100)
            ],
            verbose=0,
        )
        .history
    )
    sizes = history["batch_size"]
    # The largest multiple of 16 within 100.
    assert sizes[-1] == 96
    assert set(sizes) <= {16, 32, 64, 96}
    assert all(a <= b <= 2 * a for a, b in zip(sizes, sizes[1:], strict=False))
    assert history["gradient_noise_scale"][-1] > 64


def test_noise_scale_is_not_invented():
    history = make_model().fit(
        X[:16],
        Y[:16],
        batch_size=8,
        callbacks=[DynamicBatchSize("noise_scale", batch_size=8)],
        verbose=0,
    )
    assert np.isnan(history.history["gradient_noise_scale"][0])
    assert history.history["batch_size"] == [8]


# Accumulating.

CLIPPED = {
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.5),
    "adamw": lambda: keras.optimizers.AdamW(0.01, global_clipnorm=0.5),
    "lion": lambda: keras.optimizers.Lion(0.01, weight_decay=0.1, global_clipnorm=0.5),
}


def make_other(strategy, optimizer):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(5, "tanh"),
                keras.layers.Dense(1),
            ]
        )
        model.compile(optimizer(), "mse")
    return model


def flat(model):
    return np.concatenate([np.ravel(w) for w in model.get_weights()])


def trained_eagerly(optimizer, batches):
    """The weights after a plain step for each of the batches."""
    model = make_other(tf.distribute.get_strategy(), optimizer)
    # A trace for each size would cost more than the few steps.
    model.run_eagerly = True
    for rows in batches:
        model.train_on_batch(X[rows], Y[rows])
    return flat(model)


@pytest.mark.parametrize("replicas", thorough_but([2], [1, 2]))
@pytest.mark.parametrize("optimizer", thorough_but(["adamw"], CLIPPED))
def test_is_the_large_batch_also_when_it_changes_in_mid_epoch(
    strategies, optimizer, replicas
):
    grown = make_other(strategies(replicas), CLIPPED[optimizer])
    grown.fit(
        X,
        Y,
        batch_size=8,
        shuffle=False,
        callbacks=[
            DynamicBatchSize(
                Interleaved([(1, 1), (2, 1), (4, 1)]), batch_size=8, every=4
            )
        ],
        verbose=0,
    )
    ends = np.cumsum([8] * 4 + [16] * 2 + [32])
    assert ends[-1] == len(X)
    batches = map(slice, [0, *ends], ends)
    whole = trained_eagerly(CLIPPED[optimizer], batches)
    assert int(grown.optimizer.iterations.numpy()) == 7
    np.testing.assert_allclose(flat(grown), whole, atol=1e-6)


def scaled_sgd():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))


@pytest.mark.parametrize(
    ("optimizer", "replicas"),
    [
        pytest.param(CLIPPED["momentum"], 1, marks=pytest.mark.thorough(MATRIX)),
        (CLIPPED["adamw"], 2),
        (scaled_sgd, 1),
    ],
)
def test_batches_count_by_their_samples(strategies, optimizer, replicas):
    """Batches of 16, 16 and 12 make an update of 44 samples; then one of 12 alone."""
    weighed = make_other(strategies(replicas), optimizer)
    weighed.fit(
        X[:44],
        Y[:44],
        batch_size=16,
        shuffle=False,
        callbacks=[DynamicBatchSize([(0, 3)], batch_size=16)],
        verbose=0,
    )
    weighed.fit(
        X[:12],
        Y[:12],
        batch_size=16,
        shuffle=False,
        callbacks=[DynamicBatchSize([(0, 3)], batch_size=16)],
        verbose=0,
    )
    whole = trained_eagerly(optimizer, [slice(44), slice(12)])
    np.testing.assert_allclose(flat(weighed), whole, atol=1e-6)


WAYS = {"jit_compile": True, "steps_per_execution": 2, "run_eagerly": True}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.thorough(LONG)
def test_batches_count_by_their_samples_however_the_step_is_run(way):
    weighed, whole = make_model(), make_model()
    weighed.compile(keras.optimizers.SGD(0.05), "mse", **{way: WAYS[way]})
    weighed.fit(
        X[:44],
        Y[:44],
        batch_size=16,
        shuffle=False,
        callbacks=[DynamicBatchSize([(0, 3)], batch_size=16)],
        verbose=0,
    )
    whole.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True)
    whole.train_on_batch(X[:44], Y[:44])
    np.testing.assert_allclose(flat(weighed), flat(whole), atol=1e-6)


def test_weights_do_not_show_in_the_loss_and_the_noise_scale():
    losses = []
    for callbacks in ([], [DynamicBatchSize("noise_scale", batch_size=40)]):
        history = make_model(rate=0.0).fit(
            X, Y, batch_size=40, shuffle=False, callbacks=callbacks, verbose=0
        )
        losses.append(history.history["loss"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_batches_count_by_their_samples_in_a_model_without_input_shape():
    model = keras.Sequential([keras.layers.Dense(1, None, False, "zeros")])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(
        X[:44],
        Y[:44],
        batch_size=16,
        callbacks=[DynamicBatchSize([(0, 3)], batch_size=16)],
        verbose=0,
    )
    expected = 0.1 * 2 * X[:44].T @ Y[:44] / 44
    np.testing.assert_allclose(model.get_weights()[0], expected, atol=1e-6)


def test_a_custom_step_that_does_not_scale_the_loss_counts_batches_the_same():
    class Custom(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1, None, False, "zeros")

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(y=y, y_pred=self(x, training=True))
            weights = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    model = Custom()
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.fit(
        X[:12],
        Y[:12],
        batch_size=8,
        shuffle=False,
        callbacks=[DynamicBatchSize([(0, 2)], batch_size=8)],
        verbose=0,
    )
    halves = [2 * X[i:j].T @ Y[i:j] / (j - i) for i, j in ((0, 8), (8, 12))]
    np.testing.assert_allclose(
        model.get_weights()[0], np.mean(halves, axis=0), atol=1e-5
    )
    assert "train_step" not in vars(model)


@pytest.mark.parametrize(("remainder", "updates"), [("keep", 3), ("flush", 4)])
def test_what_is_left_at_the_end_of_an_epoch_is_kept_or_flushed(remainder, updates):
    """Three batches in each of two epochs, of which two make an update."""
    model = make_model()
    model.fit(
        X[:24],
        Y[:24],
        batch_size=8,
        epochs=2,
        callbacks=[DynamicBatchSize([(0, 2)], batch_size=8, remainder=remainder)],
        verbose=0,
    )
    assert int(model.optimizer.iterations) == updates


# Making the batches larger.


@functools.cache
def split_by_size():
    model = make_model()
    for size in (8, 16, 32):
        model.fit(X, Y, batch_size=size, shuffle=False, verbose=0)
    return flat(model)


@pytest.mark.parametrize("mode", ["rebatch", "auto"])
def test_batches_grow(mode):
    grown = make_model()
    batches = DynamicBatches(X, Y, batch_size=8, shuffle=False)
    history = grown.fit(
        batches,
        epochs=3,
        callbacks=[DynamicBatchSize([(1, 2), (2, 4)], mode=mode, data=batches)],
        verbose=0,
    )
    assert history.history["batch_size"] == [8, 16, 32]
    assert batches.drawn_sizes == (8, 16, 32)
    np.testing.assert_allclose(flat(grown), split_by_size(), atol=1e-6)
    assert int(grown.optimizer.iterations) == 12 + 6 + 3


@pytest.mark.thorough(LONG)
def test_batches_grow_to_what_the_device_can_hold_and_then_accumulate():
    batches = DynamicBatches(X, Y, batch_size=8, shuffle=False)
    model = make_model()
    history = model.fit(
        batches,
        epochs=4,
        callbacks=[
            DynamicBatchSize(
                [(1, 2), (2, 6), (3, 1)],
                mode="auto",
                data=batches,
                max_device_batch=20,
            )
        ],
        verbose=0,
    )
    assert history.history["batch_size"] == [8, 16, 48, 8]
    assert batches.drawn_sizes == (8, 16)
    assert int(model.optimizer.iterations) == 12 + 6 + 2 + 12


def seen_for(epochs, size):
    """Ends a training after so many epochs at such a size, or at a smaller one."""
    count = itertools.count(1)
    return StopAt(lambda now: now <= size and next(count) >= epochs)


class StopAt(keras.callbacks.Callback):
    """Ends a training when the batch has such a size."""

    def __init__(self, is_reached):
        super().__init__()
        self.is_reached = is_reached

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = self.is_reached(logs["batch_size"])


@pytest.mark.thorough(LONG)
def test_batches_shrink_as_far_as_they_may():
    batches = DynamicBatches(X, Y, batch_size=16, sizes=[4, 8, 16, 32])
    grow = DynamicBatchSize(
        CABS(scale=1e-9),
        mode="rebatch",
        data=batches,
        min_batch_size=8,
        learning_rate_scaling="linear",
        every=16,
    )
    history = (
        make_model(rate=1e-4)
        .fit(batches, epochs=25, callbacks=[grow, seen_for(3, 8)], verbose=0)
        .history
    )
    assert set(history["batch_size"]) == {16, 8}
    assert history["batch_size"][-1] == 8
    assert history["learning_rate_gain"][-1] == 0.5


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.thorough(LONG)
def test_policies_are_told_the_latest_logs(strategies, replicas):
    """In mid-epoch those so far, also with a metric that is not a number."""
    told = []

    class Ask(BatchSizePolicy):
        def update(self, measured):
            told.append((measured.epoch, measured.log("loss"), set(measured.logs)))
            return measured.batch_size

    with strategies(replicas).scope():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, "softmax")])
        model.compile(
            keras.optimizers.SGD(0.0),
            "categorical_crossentropy",
            metrics=[keras.metrics.F1Score()],
        )
    y = keras.ops.one_hot((X[:, 0] > 0).astype("int32"), 2)
    history = model.fit(
        X,
        y,
        batch_size=8,
        epochs=2,
        shuffle=False,
        # Of NumPy, as a search over an array has it.
        callbacks=[DynamicBatchSize(Ask(), batch_size=np.int64(8), every=np.int64(9))],
        verbose=0,
    ).history
    assert [epoch for epoch, _, _ in told] == [0, 0, 1]
    assert np.isnan(told[0][1])
    expected = model.evaluate(X[:72], y[:72], batch_size=8, verbose=0)[0]
    assert told[1][1] == pytest.approx(expected, rel=1e-5)
    assert "f1_score" not in told[1][2]
    # After 18 batches: 6 of the second epoch.
    expected = model.evaluate(X[:48], y[:48], batch_size=8, verbose=0)[0]
    assert told[2][1] == pytest.approx(expected, rel=1e-5)
    assert history["batch_size"] == [8, 8]


@pytest.mark.thorough(LONG)
def test_a_second_fit_begins_with_the_first_size_again():
    batches = DynamicBatches(X, Y, batch_size=8)
    grow = DynamicBatchSize([(1, 2)], mode="rebatch")
    for _ in range(2):
        history = make_model().fit(batches, epochs=2, callbacks=[grow], verbose=0)
        assert history.history["batch_size"] == [8, 16]


@pytest.mark.thorough(STATISTICS)
def test_noise_scale_is_in_samples_whatever_the_size_of_the_batch():
    """A regression at a standstill: the truth from all gradients of single samples."""
    x, y = noisy_data(1.0)
    model = make_model(rate=0.0)
    kernel, bias = model.get_weights()
    residuals = 2 * (x @ kernel + bias - y)
    gradients = residuals * np.concatenate([x, np.ones_like(y)], axis=1)
    mean = gradients.mean(axis=0)
    truth = np.sum((gradients - mean) ** 2) / len(x) / (mean @ mean)
    batches = DynamicBatches(x, y, batch_size=8, seed=0)
    grow = DynamicBatchSize([(0, 2), (3, 4)], mode="rebatch", data=batches)
    grow.policy = Staged([*grow.policy, (20, NoiseScale())])
    history = model.fit(batches, epochs=12, callbacks=[grow], verbose=0).history
    assert history["batch_size"][-1] == 32
    assert history["gradient_noise_scale"][-1] == pytest.approx(truth, rel=0.5)


@pytest.mark.thorough(LONG)
def test_all_together_on_two_replicas(strategies):
    """Batches that grow and then accumulate, a schedule, and the gain of AdaScale."""
    schedule = keras.optimizers.schedules.ExponentialDecay(0.05, 50, 0.9)
    model = make_other(
        strategies(2), lambda: keras.optimizers.SGD(schedule, momentum=0.9)
    )
    batches = DynamicBatches(X, Y, batch_size=8, seed=0)
    grow = DynamicBatchSize(
        Staged([(1, 2), (2, 4), (4, NoiseScale())]),
        mode="auto",
        data=batches,
        max_device_batch=16,
        learning_rate_scaling="adascale",
        remainder="flush",
    )
    history = model.fit(batches, epochs=6, callbacks=[grow], verbose=0).history
    assert history["batch_size"][:4] == [8, 16, 32, 32]
    assert batches.drawn_sizes == (8, 16)
    assert history["gradient_noise_scale"][-1] > 0
    gains = history["learning_rate_gain"]
    assert gains[0] == 1.0
    assert all(
        1 <= g <= s / 8 for g, s in zip(gains, history["batch_size"], strict=True)
    )
    assert gains[-1] > 1.0
    assert np.isfinite(history["loss"]).all()
    updates = 12 + 6 + 3 + 3
    assert int(model.optimizer.iterations.numpy()) >= updates + 2


# The learning rate.


class Rates(keras.callbacks.Callback):
    """The learning rates before each batch."""

    def on_train_begin(self, logs=None):
        self.rates = []

    def on_train_batch_begin(self, batch, logs=None):
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        self.rates.append(round(float(rate), 6))


@pytest.mark.parametrize(
    ("scaling", "gains"),
    [("none", [1, 1, 1]), ("linear", [1, 4, 16]), ("sqrt", [1, 2, 4])],
)
def test_learning_rate_is_scaled_and_given_back(scaling, gains):
    model, rates = make_model(), Rates()
    history = model.fit(
        X,
        Y,
        batch_size=4,
        epochs=3,
        callbacks=[
            DynamicBatchSize(
                [(1, 4), (2, 16)], batch_size=4, learning_rate_scaling=scaling
            ),
            rates,
        ],
        verbose=0,
    ).history
    assert rates.rates == [round(0.05 * g, 6) for g in gains for _ in range(24)]
    assert history.get("learning_rate_gain", [1, 1, 1]) == gains
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05)


@pytest.mark.parametrize("wrapped", [lambda optimizer: optimizer, Lookahead])
def test_a_schedule_is_read_where_the_small_batches_would_be(wrapped):
    """Eight small steps at 0.1 and then 0.01; batches four times as large, mid-way."""
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([7], [0.1, 0.01])
    model, rates = make_model(), Rates()
    model.compile(wrapped(keras.optimizers.SGD(schedule)), "mse")
    model.fit(
        X,
        Y,
        batch_size=8,
        shuffle=False,
        callbacks=[
            DynamicBatchSize(
                Interleaved([(1, 1), (4, 9)]),
                batch_size=8,
                every=4,
                learning_rate_scaling="sqrt",
            ),
            rates,
        ],
        verbose=0,
    )
    # Positions 0, 1, 2, 3; then 4 for four batches, and 8.
    assert rates.rates == [0.1] * 4 + [0.2] * 4 + [0.02] * 4
    assert model.optimizer.learning_rate is not schedule
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)  # at 6 updates
    assert "_get_current_learning_rate" not in vars(model.optimizer)


@pytest.mark.thorough(LONG)
def test_growth_takes_the_place_of_decay():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [23, 47], [0.1, 0.05, 0.0125]
    )
    model, rates = make_model(), Rates()
    model.compile(keras.optimizers.SGD(schedule), "mse")
    history = model.fit(
        X,
        Y,
        batch_size=4,
        epochs=3,
        callbacks=[
            DynamicBatchSize(DontDecayLearningRate(), batch_size=4, max_batch_size=16),
            rates,
        ],
        verbose=0,
    ).history
    # The third size would be 32.
    assert history["batch_size"] == [4, 8, 16]
    assert rates.rates == [0.1] * 48 + [0.05] * 24


def test_growth_takes_the_place_of_the_decay_on_plateau():
    model = make_model(rate=0.1)
    reduce = keras.callbacks.ReduceLROnPlateau("loss", 0.5, patience=1, min_delta=1e9)
    history = model.fit(
        X,
        Y,
        batch_size=4,
        epochs=4,
        callbacks=[
            DynamicBatchSize(DontDecayLearningRate(), batch_size=4, max_batch_size=16),
            reduce,
        ],
        verbose=0,
    ).history
    # Reduced at the end of the second epoch, and of each one after it.
    assert history["batch_size"] == [4, 4, 8, 16]
    np.testing.assert_allclose(history["learning_rate"], [0.1] * 4, rtol=1e-6)


def test_ada_batch_sets_the_learning_rate_too():
    model, rates = make_model(rate=0.1), Rates()
    model.fit(
        X,
        Y,
        batch_size=8,
        epochs=3,
        callbacks=[
            DynamicBatchSize(AdaBatch(every_epochs=1), batch_size=8, max_batch_size=16),
            rates,
        ],
        verbose=0,
    )
    # Doubled once, and then at its largest.
    expected = [0.1, 0.075, 0.1 * 0.375**2 * 2]
    assert rates.rates == [round(r, 6) for r in expected for _ in range(12)]


class Constant(keras.layers.Layer):
    def build(self, input_shape):
        self.w = self.add_weight(shape=(2,), initializer="zeros", name="w")

    def call(self, inputs):
        return self.w - inputs


@pytest.mark.thorough(LONG)
def test_gain_of_adascale_is_that_of_the_closed_form():
    """Samples around c and the loss |w - x|**2 / 2: gradient -c, covariance of x."""
    rng = np.random.default_rng(0)
    scale, c = np.array([2.0, 1.0]), np.array([0.5, 0.25])
    x = (c + scale * rng.normal(size=(8192, 2))).astype("float32")
    model = keras.Sequential([keras.Input((2,)), Constant()])
    model.compile(
        keras.optimizers.SGD(0.0),
        loss=lambda y, offset: keras.ops.sum(offset**2, axis=-1) / 2,
    )
    history = model.fit(
        x,
        np.zeros((len(x), 1)),
        batch_size=16,
        epochs=2,
        callbacks=[
            DynamicBatchSize(
                [(0, 4)], batch_size=16, learning_rate_scaling="adascale", every=500
            )
        ],
        verbose=0,
    ).history
    noise, signal = np.sum(scale**2) / 16, c @ c
    expected = (noise + signal) / (noise / 4 + signal)
    assert 1.5 < expected < 2.5
    assert history["learning_rate_gain"][-1] == pytest.approx(expected, rel=0.15)


def test_gain_of_adascale_has_its_limits():
    assert adascale_gain(8.0, Measured(64, 8, signal=0.0, noise=1.0), 8) == 8.0
    assert adascale_gain(8.0, Measured(64, 8, signal=1.0, noise=0.0), 8) == (
        pytest.approx(1.0, abs=1e-5)
    )
    assert adascale_gain(1.0, Measured(8, 8, signal=1.0, noise=3.0), 8) == 1.0
    assert adascale_gain(8.0, Measured(64, 8), 8) == 1.0  # not known


def test_learning_rate_is_given_back_after_an_interruption():
    seen = []

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(float(self.model.optimizer.learning_rate))
            raise KeyboardInterrupt

    model = make_model()
    grow = DynamicBatchSize([(0, 2)], batch_size=8, learning_rate_scaling="linear")
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=8, callbacks=[grow, Stop()], verbose=0)
    assert seen == [pytest.approx(0.1)]
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05)
    assert "train_step" not in vars(model)


# Other things.


def test_batch_normalization_remembers_as_many_samples_as_before():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.BatchNormalization(momentum=0.9, name="norm"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    batches = DynamicBatches(X, Y, batch_size=8, shuffle=False)
    momenta = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            momenta.append(float(model.get_layer("norm").momentum))

    model.fit(
        batches,
        epochs=2,
        callbacks=[
            DynamicBatchSize(
                [(1, 4)], mode="rebatch", data=batches, adjust_batch_norm=True
            ),
            Look(),
        ],
        verbose=0,
    )
    assert momenta == [pytest.approx(0.9), pytest.approx(0.9**4)]
    # 12 batches of 8, and 3 of 32.
    mean = np.zeros(4)
    for size, momentum in ((8, 0.9), (32, 0.9**4)):
        for start in range(0, 96, size):
            mean = momentum * mean + (1 - momentum) * X[start : start + size].mean(0)
    found = keras.ops.convert_to_numpy(model.get_layer("norm").moving_mean)
    np.testing.assert_allclose(found, mean, atol=1e-5)


POLICIES = {
    "CABS": CABS(scale=2e4),
    "NormTest": NormTest(),
    "InnerProductTest": InnerProductTest(),
    "AdAdaGrad": AdAdaGrad(rule="element"),
    "GradientDiversity": GradientDiversity(),
    "OnPlateau": OnPlateau("loss", patience=1, min_delta=1e9),
}


# One that looks at all noise, one at each element, and one at the logs.
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.thorough(LONG)
def test_every_policy_grows_the_batch_at_the_optimum(policy):
    """There the gradient is nothing but noise."""
    x, y = noisy_data(1.0, 512)
    optimum = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]

    model = make_model(rate=1e-4)
    model.set_weights([optimum[:4], optimum[4]])
    grow = DynamicBatchSize(
        POLICIES[policy], batch_size=4, max_batch_size=32, every=128
    )
    history = model.fit(
        x,
        y,
        batch_size=4,
        epochs=6,
        callbacks=[grow, StopAt(lambda size: size >= 8)],
        verbose=0,
    ).history
    assert history["batch_size"][-1] >= 8


@pytest.mark.thorough(LONG)
def test_copy_is_new():
    grow = DynamicBatchSize(Interleaved([(1, 1), (2, 1)]), batch_size=8)
    make_model().fit(X, Y, batch_size=8, callbacks=[grow], verbose=0)
    for callback in (grow, deepcopy(grow)):
        history = make_model().fit(
            X, Y, batch_size=8, epochs=2, callbacks=[callback], verbose=0
        )
        assert history.history["batch_size"] == [8, 16]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"policy": "double"},
            r"`policy` must be a list of .* or a BatchSizePolicy. Received: policy=",
        ),
        ({"policy": [(0, 0)]}, r"`policy` must be a list of \(epoch, factor\)"),
        ({"policy": [(3, 2), (1, 4)]}, r"increasing epochs"),
        ({"policy": []}, r"`policy` must be a list"),
        ({"batch_size": 0}, r"`batch_size` must be an integer >= 1"),
        ({"max_batch_size": 4}, r"`max_batch_size` must be an integer >= 8 or None"),
        ({"min_batch_size": 0}, r"`min_batch_size` must be an integer >= 1 or None"),
        ({"max_device_batch": 1.5}, r"`max_device_batch` must be an integer >= 1"),
        ({"mode": "grow"}, r"`mode` must be .* or \"auto\". Received: mode='grow'"),
        (
            {"mode": "rebatch", "data": X},
            r"`data` must be an object with batch_size and sizes",
        ),
        ({"data": X}, r"`data` must be .* or None with mode=\"accumulate\""),
        ({"learning_rate_scaling": 2}, r"`learning_rate_scaling` must be \"none\", "),
        ({"every": 0}, r"`every` must be \"epoch\" or an integer >= 1"),
        ({"remainder": "drop"}, r"`remainder` must be \"keep\" or \"flush\""),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DynamicBatchSize(**{"policy": "noise_scale", "batch_size": 8, **arguments})


def test_batches_grow_only_where_fit_gets_data_with_sizes():
    model = make_model()
    with pytest.raises(ValueError, match="`data` must be .* None means that of `fit`"):
        model.fit(X, Y, callbacks=[DynamicBatchSize([(1, 2)], mode="rebatch")])
    batches = DynamicBatches(X, Y, batch_size=8)
    small = DynamicBatchSize("noise_scale", mode="rebatch", max_batch_size=4)
    with pytest.raises(ValueError, match="`max_batch_size` must be an integer >= 8"):
        model.fit(batches, callbacks=[small])


@pytest.mark.thorough(LONG)
def test_the_batch_size_need_not_be_told(strategies):
    """It is what the first batch has, over all replicas."""
    runs = []
    for size in (None, 16):
        with strategies(2).scope():
            model = make_model()
        grow = DynamicBatchSize([(1, 2), (3, 4)], batch_size=size)
        fit = functools.partial(model.fit, X, Y, shuffle=False, verbose=0)
        history = fit(batch_size=16, epochs=4, callbacks=[grow]).history
        assert history["batch_size"] == [16, 32, 32, 64]
        assert int(model.optimizer.iterations.numpy()) == 6 + 3 + 3 + 2
        runs.append(model.get_weights())
    for untold, told in zip(*runs, strict=True):
        np.testing.assert_array_equal(untold, told)
    # The next `fit` may have another one.
    untold = DynamicBatchSize([(1, 2)])
    for size in (16, 24):
        history = fit(batch_size=size, epochs=2, callbacks=[untold]).history
        assert history["batch_size"] == [size, 2 * size]


class SaysItsSizes(BatchSizePolicy):
    """Doubles, and keeps what it was told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def __deepcopy__(self, memo):
        return self

    def update(self, measured):
        self.told.append((measured.initial_batch_size, measured.batch_size))
        return 2 * measured.initial_batch_size


def test_a_policy_is_asked_when_the_first_batch_is_known():
    policy = SaysItsSizes()
    model = make_model()
    grow = DynamicBatchSize(policy, max_batch_size=64, learning_rate_scaling="linear")
    history = model.fit(
        X, Y, batch_size=8, epochs=2, callbacks=[grow], shuffle=False, verbose=0
    )
    assert policy.told == [(8, 8), (8, 16)]
    assert history.history["batch_size"] == [16, 16]
    assert history.history["learning_rate_gain"] == [2.0, 2.0]
    # One batch, five of two, and one that goes on in the next epoch.
    assert int(model.optimizer.iterations) == 1 + (11 + 12) // 2 + 1


@pytest.mark.parametrize("told", [8, 32])
def test_a_batch_size_that_contradicts_fit_is_an_error(told):
    model = make_model()
    grow = DynamicBatchSize([(1, 2)], batch_size=told)
    message = "`batch_size` must be 16, what the first batch of `fit` has, or None. "
    with pytest.raises(ValueError, match=message + f"Received: batch_size={told}"):
        model.fit(X, Y, batch_size=16, epochs=2, callbacks=[grow], verbose=0)
    assert isinstance(model.optimizer, keras.optimizers.SGD)


def test_data_that_fit_does_not_read_are_an_error():
    batches = DynamicBatches(X, Y, batch_size=8)
    grow = DynamicBatchSize([(1, 2)], mode="rebatch", data=batches)
    with pytest.raises(ValueError, match="`batch_size` must be 16"):
        make_model().fit(X, Y, batch_size=16, epochs=2, callbacks=[grow], verbose=0)


def test_a_single_batch_may_be_smaller_than_told():
    grow = DynamicBatchSize([(1, 2)], batch_size=128)
    history = make_model().fit(
        X, Y, batch_size=128, epochs=2, callbacks=[grow], verbose=0
    )
    assert history.history["batch_size"] == [96, 192]


def test_several_steps_at_once_need_to_be_told():
    model = make_model()
    model.compile("sgd", "mse", steps_per_execution=2)
    with pytest.raises(ValueError, match="`batch_size` must be given if `compile`"):
        model.fit(X, Y, callbacks=[DynamicBatchSize([(1, 2)])], verbose=0)
