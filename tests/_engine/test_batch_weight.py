"""Several micro-batches give the update of one large batch, whatever a mean is over."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from tests.thorough import LONG, MATRIX

RNG = np.random.default_rng(0)
IDS = RNG.integers(1, 20, (96, 7))
# From one step to seven: three batches with other numbers of steps.
IDS[np.arange(7)[None] >= RNG.integers(1, 8, 96)[:, None]] = 0
TARGETS = RNG.integers(0, 4, (96, 7))
WEIGHTS = RNG.uniform(0.1, 3.0, (96, 7)).astype("float32")


def entropy(**options):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **options)


def trained(batch_size, loss, *, masked=True, weights=None, model_class=keras.Model):
    """The weights after two epochs whose updates are of 96 samples."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((7,), dtype="int32")
    x = keras.layers.Embedding(20, 4, mask_zero=masked)(ids)
    outputs = keras.layers.Dense(4)(keras.layers.Dense(5, "tanh")(x))
    model = model_class(ids, outputs)
    model.compile(keras.optimizers.SGD(0.3), loss)
    data = (IDS, TARGETS) if weights is None else (IDS, TARGETS, weights)
    batches = tf.data.Dataset.from_tensor_slices(data).batch(batch_size)
    steps = -(-96 // batch_size)
    grow = kx.callbacks.DynamicBatchSize([(0, steps)], batch_size=batch_size)
    callbacks = [grow] if steps > 1 else []
    model.fit(batches, epochs=2, shuffle=False, callbacks=callbacks, verbose=0)
    return np.concatenate([w.ravel() for w in model.get_weights()])


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (entropy(), {}),
        pytest.param(entropy(), {"masked": False}, marks=pytest.mark.thorough(MATRIX)),
        (entropy(), {"weights": WEIGHTS}),
        (entropy(reduction="mean_with_sample_weight"), {"weights": WEIGHTS}),
        pytest.param(
            entropy(reduction="mean_with_sample_weight"),
            {"weights": WEIGHTS, "masked": False},
            marks=pytest.mark.thorough(MATRIX),
        ),
        pytest.param(
            entropy(reduction="sum"),
            {"masked": False},
            marks=pytest.mark.thorough(MATRIX),
        ),
    ],
    ids=["mask", "samples", "mask, weights", "weights, mask", "weights", "sum"],
)
def test_three_micro_batches_are_one_large_batch(loss, options):
    # A sum is as many times as large.
    rate = 1.0 if loss.reduction != "sum" else 1e-3

    class Scaled(keras.losses.Loss):
        def __init__(self):
            super().__init__(reduction=loss.reduction)

        def call(self, y_true, y_pred):
            return rate * keras.losses.sparse_categorical_crossentropy(
                y_true, y_pred, from_logits=True
            )

    one = trained(96, Scaled(), **options)
    # The last one is smaller.
    for size in (32, 40):
        np.testing.assert_allclose(trained(size, Scaled(), **options), one, atol=2e-6)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_penalty_counts_once_beside_a_sum(strategies, replicas):
    x, y = RNG.normal(size=(2, 12, 2)).astype("float32")
    results = []
    for size in (12, 4):
        with strategies(replicas).scope():
            layer = keras.layers.Dense(
                2, kernel_initializer="ones", kernel_regularizer="l2"
            )
            model = keras.Sequential([keras.Input((2,)), layer])
            loss = keras.losses.MeanSquaredError(reduction="sum")
            model.compile(keras.optimizers.SGD(1e-3), loss)
        batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(size)
        grow = kx.callbacks.DynamicBatchSize([(0, 3)], batch_size=4)
        callbacks = [grow] if size == 4 else []
        model.fit(batches, shuffle=False, callbacks=callbacks, verbose=0)
        results.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    np.testing.assert_allclose(*results, atol=1e-6)


@pytest.mark.thorough(LONG)
def test_a_compute_loss_of_ones_own():
    class Model(keras.Model):
        def compute_loss(self, x, y, y_pred, sample_weight=None):
            return 0.5 * super().compute_loss(x, y, y_pred, sample_weight)

    one = trained(96, entropy(), model_class=Model)
    three = trained(32, entropy(), model_class=Model)
    np.testing.assert_allclose(three, one, atol=2e-6)
