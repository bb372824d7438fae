import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.optimizers import Cautious, Sophia
from keras_ext.training import Curvature, SharpnessAware
from tests.thorough import MATRIX, thorough_but

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 3)).astype("float32")
W = RNG.uniform(0.5, 2.0, 8).astype("float32")
LABELS = np.arange(8) % 4
PENALTY = 0.3
LOSSES = keras.losses


def linear(units, activation=None, **options):
    keras.utils.set_random_seed(1)
    dense = keras.layers.Dense(units, activation, use_bias=False, **options)
    return keras.Sequential([keras.Input((3,)), dense])


WAYS = [("run_eagerly", 1), ("jit_compile", 1), ("graph", 1), ("graph", 2)]


@pytest.mark.parametrize(("way", "replicas"), thorough_but(WAYS[1::2], WAYS))
def test_second_derivatives_are_those_of_numpy(way, replicas, strategies):
    """Exact for one row whose features are apart, with weights and a penalty."""
    options = {"jit_compile": False} if way == "graph" else {way: True}
    with strategies(replicas).scope():
        penalty = keras.regularizers.L2(PENALTY)
        model = linear(1, kernel_regularizer=penalty)
        rows = np.float32(np.eye(3)[np.arange(8) % 3] * X.sum(1, keepdims=True))
        optimizer = Sophia(0.0, beta_2=0.0)
        model.compile(optimizer, "mse", **options)
    data = tf.data.Dataset.from_tensor_slices((rows, X[:, :1], W)).batch(8)
    model.fit(data, callbacks=[Curvature()], shuffle=False, verbose=0)
    (kernel,) = model.trainable_variables
    expected = 2 * np.mean(W[:, None] * rows**2, axis=0) + 2 * PENALTY
    found = optimizer.slots_of(kernel)["curvature"].numpy()
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def gauss_newton(kernel, kind):
    """The diagonal for a linear model, by the formulas of the second derivatives."""
    z = X @ kernel
    if kind == "squared":
        second = np.full_like(z, 2 / z.shape[1])
    elif kind == "binary":
        p = 1 / (1 + np.exp(-z))
        second = p * (1 - p) / z.shape[1]
    else:
        second = softmax(z) * (1 - softmax(z))
    return np.einsum("b,bi,bk->ik", W, X**2, second) / len(X)


KINDS = {
    "sparse": (LOSSES.SparseCategoricalCrossentropy(from_logits=True), None, LABELS),
    "categorical": ("categorical_crossentropy", "softmax", np.eye(4)[LABELS]),
    "binary": (LOSSES.BinaryCrossentropy(from_logits=True), None, np.eye(4)[LABELS]),
    "squared": (LOSSES.MeanSquaredError(), None, np.eye(4)[LABELS]),
}


@pytest.mark.parametrize("kind", thorough_but(["categorical"], list(KINDS)))
def test_the_mean_for_drawn_labels_is_the_gauss_newton_matrix(kind):
    loss, activation, y = KINDS[kind]
    model = linear(4, activation)

    class Mean(keras.callbacks.Callback):
        total, count = 0.0, 0

        def on_train_batch_end(self, batch, logs=None):
            (kernel,) = self.model.trainable_variables
            self.total += self.model.optimizer.slots_of(kernel)["curvature"].numpy()
            self.count += 1

    draws, mean = 600, Mean()
    optimizer = Sophia(
        0.0, estimator="gauss_newton_bartlett", beta_2=0.0, update_every=1
    )
    model.compile(optimizer, loss)
    data = tf.data.Dataset.from_tensors((X, np.float32(y), W)).repeat(draws)
    model.fit(data, callbacks=[Curvature(seed=3), mean], shuffle=False, verbose=0)
    expected = gauss_newton(model.get_weights()[0], kind)
    assert mean.count == draws
    # A chi-squared, whose deviation is at most the root of 2 of its mean.
    np.testing.assert_allclose(
        mean.total / draws, expected, rtol=4 * (2 / draws) ** 0.5
    )


@pytest.mark.parametrize("estimator", ["hutchinson", "gauss_newton_bartlett"])
def test_two_replicas_find_what_one_does(estimator, strategies):
    found = []
    for replicas in (1, 2):
        keras.utils.set_random_seed(1)
        with strategies(replicas).scope():
            hidden = keras.layers.Dense(5, "tanh")
            model = keras.Sequential([keras.Input((3,)), hidden, keras.layers.Dense(4)])
            loss = LOSSES.SparseCategoricalCrossentropy(from_logits=True)
            optimizer = Sophia(0.01, estimator=estimator, update_every=2)
            model.compile(optimizer, loss, jit_compile=False)
        data = tf.data.Dataset.from_tensor_slices((X, LABELS, W)).batch(8)
        model.fit(data, epochs=3, callbacks=[Curvature(7)], shuffle=False, verbose=0)
        found.append([np.array(v) for v in (*model.weights, *optimizer.variables)])
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)


def test_the_pass_leaves_no_trace_and_others_no_trace_in_it():
    """Statistics, masks, metrics; and SAM, which asks for the loss elsewhere."""
    found = []
    for callbacks in ([], [Curvature()], [SharpnessAware(0.0), Curvature()]):
        keras.utils.set_random_seed(1)
        layers = [
            keras.layers.Dense(6, "relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=1),
        ]
        model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])
        sophia = Cautious(Sophia(0.0, beta_2=0.0))
        plain = keras.optimizers.SGD(0.0)
        optimizer = sophia if callbacks else plain
        model.compile(optimizer, "mse", metrics=["mae"], run_eagerly=True)
        history = model.fit(X, X[:, :1], epochs=2, callbacks=callbacks, verbose=0)
        history.history.pop("sharpness", None)
        inner = optimizer.inner_optimizer if callbacks else None
        kept = [
            inner.slots_of(v)["curvature"].numpy()
            for v in (model.trainable_variables if inner else [])
        ]
        found.append((history.history, [np.array(v) for v in model.variables], kept))
    (history, variables, _), *others = found
    for other_history, other_variables, _ in others:
        for name, values in history.items():
            np.testing.assert_allclose(other_history[name], values, rtol=1e-6)
        for one, other in zip(variables, other_variables, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-7)
    for one, other in zip(others[0][2], others[1][2], strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-7)
        assert np.any(one != 0)


@pytest.mark.thorough(MATRIX)
def test_half_precision_finds_what_single_precision_does():
    found = []
    for policy in ("mixed_float16", "float32"):
        keras.config.set_dtype_policy(policy)
        try:
            model, optimizer = linear(1), Sophia(0.0, beta_2=0.0)
            model.compile(optimizer, "mse")
            model.fit(
                X, 1e-3 * X[:, :1], callbacks=[Curvature()], shuffle=False, verbose=0
            )
            (kernel,) = model.trainable_variables
            found.append(optimizer.slots_of(kernel)["curvature"].numpy())
        finally:
            keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(found[0], found[1], rtol=0.02)


def test_errors_say_what_does_not_fit():
    model = linear(2)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="one that asks for the curvature"):
        model.fit(X, X[:, :2], callbacks=[Curvature()], shuffle=False, verbose=0)
    bartlett = Sophia(estimator="gauss_newton_bartlett")
    for loss in ("huber", LOSSES.MeanSquaredError(reduction="sum")):
        model.compile(bartlett, loss)
        with pytest.raises(ValueError, match='estimator="hutchinson", for any loss'):
            model.fit(X, X[:, :2], callbacks=[Curvature()], shuffle=False, verbose=0)
    model.compile(Sophia(), "mse")
    callbacks = [Curvature(), kx.callbacks.LocalSGD()]
    with pytest.raises(ValueError, match="without one for replicas"):
        model.fit(X, X[:, :2], callbacks=callbacks, verbose=0)
    assert "train_step" not in vars(model)
