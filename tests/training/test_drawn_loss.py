import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.training._drawn_loss import DrawnLoss

SEED = tf.constant([0, 1])


@pytest.mark.parametrize(
    ("loss", "logits", "y"),
    [
        ("SparseCategoricalCrossentropy", [[[9.0, -9.0, -9.0]] * 4] * 2, [[0] * 4] * 2),
        ("CategoricalCrossentropy", [[99.0, 0.0], [0.0, 99.0]], np.zeros((2, 2))),
        ("BinaryCrossentropy", [[99.0], [-99.0]], np.zeros((2, 1))),
    ],
)
def test_what_is_certain_is_drawn_whatever_the_labels_are(loss, logits, y):
    drawn = DrawnLoss(getattr(keras.losses, loss)(from_logits=True))
    total = drawn.total(tf.constant(y), tf.constant(logits), None, SEED)
    assert float(total) == pytest.approx(0, abs=1e-6)
    assert float(drawn.count(tf.constant(logits))) == np.prod(np.shape(logits)[:-1])


@pytest.mark.parametrize("loss", ["binary_crossentropy", "mse", "MeanSquaredError"])
def test_weights_enter_by_their_roots(loss):
    y_pred, drawn = tf.fill((2, 3), 0.4), DrawnLoss(loss)
    one, other = (
        float(drawn.total(y_pred, y_pred, tf.constant(w), SEED))
        for w in ([[4.0], [0.0]], [0.0, 9.0])
    )
    both = float(drawn.total(y_pred, y_pred, None, SEED))
    assert one / 2 + other / 3 == pytest.approx(both, rel=1e-5)
    assert one > 0 < other


@pytest.mark.parametrize(
    ("kind", "argument", "value"),
    [
        ("CategoricalCrossentropy", "label_smoothing", 0.1),
        ("BinaryCrossentropy", "label_smoothing", 0.1),
        ("SparseCategoricalCrossentropy", "ignore_class", 0),
        ("CategoricalCrossentropy", "axis", 1),
    ],
)
def test_arguments_with_which_squares_are_no_curvature(kind, argument, value):
    """Of smoothed labels, the mean of the gradient is not zero."""
    loss = getattr(keras.losses, kind)(**{argument: value})
    with pytest.raises(ValueError, match=f"`model.loss.{argument}` must be"):
        DrawnLoss(loss)


def test_only_losses_that_stand_for_a_distribution():
    sums = keras.losses.MeanSquaredError(reduction="sum")
    for loss in (None, "huber", sums, ["mse"], {"a": "mse"}, lambda y, p: p):
        with pytest.raises(ValueError, match="the mean of a crossentropy or squared"):
            DrawnLoss(loss)
