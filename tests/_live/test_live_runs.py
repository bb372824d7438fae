"""Changed in mid-run, live values give the weights of models built with the new ones.

However the step runs. `test_make_live.py` looks at each value alone; here all that fit
into a model change at once, in every way there is to run it.
"""

import functools

import keras
import numpy as np
import pytest
from keras import layers, optimizers, regularizers

from keras_ext import make_live
from tests.thorough import thorough_but

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 12)).astype("float32")
Y = np.eye(3, dtype="float32")[RNG.integers(0, 3, 32)]
OLD, NEW = 0.2, 0.4


def compiled(x, v, optimizer, outputs, **options):
    model = Counting(x, layers.Dense(3, "softmax", name="out")(outputs))
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=v)
    model.compile(optimizer, loss, loss_weights=v, **options)
    return model


class Counting(keras.Model):
    traces = 0

    def train_step(self, *args, **kwargs):
        self.traces += 1
        return super().train_step(*args, **kwargs)


def vectors(v, **options):
    """Noise of vectors and channels, batch normalization, AdamW, the regularizers."""
    inputs = keras.Input((12,))
    x = layers.GaussianNoise(v, seed=1, name="noise")(inputs)
    x = layers.Dropout(v, seed=2, name="drop")(x)
    x = layers.Dense(
        8,
        kernel_regularizer=regularizers.L1(v),
        bias_regularizer=regularizers.L1L2(v, v),
        activity_regularizer=regularizers.L2(v),
        name="first",
    )(x)
    x = layers.BatchNormalization(momentum=v, name="norm")(x)
    x = layers.AlphaDropout(v, seed=3, name="alpha")(x)
    x = layers.Dense(
        6,
        kernel_regularizer=regularizers.L2(v),
        bias_regularizer=regularizers.L1(v),
        activity_regularizer=regularizers.L1(v),
        name="second",
    )(x)
    x = layers.GaussianDropout(v, seed=4, name="gaussian")(x)
    x = layers.Reshape((2, 1, 3))(x)
    x = layers.SpatialDropout2D(v, seed=5, name="two")(x)
    x = layers.Reshape((2, 1, 1, 3))(x)
    x = layers.SpatialDropout3D(v, seed=6, name="three")(x)
    orthogonal = regularizers.OrthogonalRegularizer(v)
    x = layers.Dense(4, kernel_regularizer=orthogonal, name="third")(
        layers.Flatten()(x)
    )
    optimizer = optimizers.AdamW(0.02, weight_decay=v, beta_1=v, beta_2=v)
    return compiled(inputs, v, optimizer, x, **options)


def sequences(v, **options):
    """Dropout in attention and recurrent layers, and momentum."""
    inputs = keras.Input((12,))
    x = layers.Reshape((2, 6))(inputs)
    x = layers.SpatialDropout1D(v, seed=1, name="spatial")(x)
    attention = layers.MultiHeadAttention(1, 2, dropout=v, seed=2, name="attention")
    x = attention(x, x)
    # Unrolled, since loops take long to compile.
    x = layers.LSTM(
        3,
        dropout=v,
        recurrent_dropout=v,
        return_sequences=True,
        seed=3,
        unroll=True,
        name="lstm",
    )(x)
    x = layers.GRU(3, dropout=v, seed=4, unroll=True, name="gru")(x)
    optimizer = optimizers.RMSprop(0.01, rho=v, momentum=v)
    return compiled(inputs, v, optimizer, x, **options)


LIVE = {
    vectors: [
        "alpha/rate",
        "drop/rate",
        "first/activity_regularizer/l2",
        "first/bias_regularizer/l1",
        "first/bias_regularizer/l2",
        "first/kernel_regularizer/l1",
        "gaussian/rate",
        "loss/label_smoothing",
        "loss/weight",
        "noise/stddev",
        "norm/momentum",
        "optimizer/beta_1",
        "optimizer/beta_2",
        "optimizer/weight_decay",
        "second/activity_regularizer/l1",
        "second/bias_regularizer/l1",
        "second/kernel_regularizer/l2",
        "third/kernel_regularizer/factor",
        "three/rate",
        "two/rate",
    ],
    sequences: [
        "attention/dropout",
        "gru/gru_cell/dropout",
        "loss/label_smoothing",
        "loss/weight",
        "lstm/lstm_cell/dropout",
        "lstm/lstm_cell/recurrent_dropout",
        "optimizer/momentum",
        "optimizer/rho",
        "spatial/rate",
    ],
}


def state(model):
    """Weights, random numbers and what the optimizer remembers."""
    return [*model.variables, *model.optimizer.variables]


def values(variables):
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


def assign(variables, to):
    for variable, value in zip(variables, to, strict=True):
        variable.assign(value)


def fit(model, *callbacks, epochs=1):
    options = {"epochs": epochs, "shuffle": False, "verbose": 0}
    model.fit(X, Y, batch_size=16, callbacks=[*callbacks], **options)


class Change(keras.callbacks.Callback):
    """Assigns when the second epoch begins, and keeps the state of that time."""

    def __init__(self, live):
        super().__init__()
        self.live = live

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.traces = self.model.traces
            self.state = values(state(self.model))
            for hyper in self.live.values():
                hyper.assign(NEW)


MODES = {
    "graph": ({}, 1),
    "eager": ({"run_eagerly": True}, 1),
    "jit": ({"jit_compile": True}, 1),
    "two replicas": ({}, 2),
}
# What layers of sequences do with a value, those of vectors do in the same way. In XLA,
# where so much at once takes a minute to compile, `test_make_live.py` has each of them.
RUNS = [*((vectors, mode) for mode in MODES), (sequences, "graph")]
SOME_RUNS = {(vectors, "graph"), (vectors, "eager")}


@functools.cache
def changed_in_mid_run(make, mode, strategy):
    """The model after two epochs, and what changed it before the second."""
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = make(OLD, **MODES[mode][0])
    change = Change(make_live(model))
    fit(model, change, epochs=2)
    return model, change


@pytest.mark.parametrize(
    ("make", "mode"),
    thorough_but(SOME_RUNS, RUNS),
    ids=lambda value: getattr(value, "__name__", value),
)
@pytest.mark.usefixtures("graphs_as_shipped")
def test_goes_on_as_if_built_with_the_new_values(make, mode, strategies):
    options, replicas = MODES[mode]
    model, change = changed_in_mid_run(make, mode, strategies(replicas))
    assert sorted(change.live) == LIVE[make]
    if mode != "eager":
        assert model.traces == change.traces
    with strategies(replicas).scope():
        oracle = make(NEW, **options)
        oracle.optimizer.build(oracle.trainable_variables)
    assign(state(oracle), change.state)
    fit(oracle)
    # `1 - beta` is a float32 where it is live, and Adam makes much of little.
    atol = 3e-5 if make is vectors else 1e-6
    for a, b in zip(values(state(model)), values(state(oracle)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=atol)


@pytest.mark.parametrize(
    "make", thorough_but({vectors}, LIVE), ids=lambda make: make.__name__
)
def test_each_of_the_values_matters(make, strategies):
    """Or the test above would say nothing of it."""
    model, change = changed_in_mid_run(make, "graph", strategies(1))
    traces = model.traces

    def weights_with(changed):
        assign(state(model), change.state)
        for hyper in change.live.values():
            hyper.assign(NEW if hyper is changed else OLD)
        fit(model)
        return np.concatenate([w.ravel() for w in model.get_weights()])

    plain = weights_with(None)
    np.testing.assert_array_equal(weights_with(None), plain)
    without = [
        path
        for path, hyper in change.live.items()
        if np.abs(weights_with(hyper) - plain).max() < 1e-6
    ]
    assert without == []
    assert model.traces == traces


def test_keras_drops_the_same_places_on_all_replicas_live_or_not(strategies):
    """Ours do not: `test_every_layer.py`. `make_live` leaves it as it is."""
    import tensorflow as tf

    strategy = strategies(2)
    with strategy.scope():
        inputs = keras.Input((50,))
        model = keras.Model(inputs, layers.Dropout(0.5, seed=1)(inputs))
        model.compile("sgd", "mse")
    x = tf.ones((1, 50))
    for _ in range(2):
        step = tf.function(lambda: strategy.run(lambda: model(x, training=True)))
        a, b = strategy.experimental_local_results(step())
        np.testing.assert_array_equal(a, b)
        make_live(model)
