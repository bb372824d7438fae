"""Weights of classes, against those that Keras makes of arrays."""

import numpy as np
import pytest
import tensorflow as tf
from keras.src.trainers.data_adapters import data_adapter_utils  # noqa: TID251

from keras_ext.data._class_weights import class_weighted, require_class_weight

CLASSES = np.array([0, 1, 2, 3, 4, 5, 2])
WEIGHTS = {2: 0.5, 0: 3, 4: 7.0}
KINDS = {
    "numbers": CLASSES,
    "floats": CLASSES.astype("float32"),
    "column": CLASSES[:, None],
    "column of floats": CLASSES[:, None].astype("float64"),
    "one-hot": np.eye(6)[CLASSES],
    "flags": CLASSES > 2,
}


def weights_of(y, class_weight, batch=4):
    x = np.zeros((len(y), 1))
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch)
    parts = [w.numpy() for _, _, w in class_weighted(batches, class_weight)]
    return np.concatenate(parts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [WEIGHTS, {1: 2.0}, {np.int64(9): np.float32(2)}])
def test_as_keras_makes_them_of_arrays(kind, weights):
    y = KINDS[kind]
    known = data_adapter_utils.class_weight_to_sample_weights(y, weights)
    np.testing.assert_allclose(weights_of(y, weights), known)


def test_sequences_have_a_weight_for_each_step():
    y = CLASSES[:6].reshape(3, 2)[..., None]
    wanted = [[3, 1], [0.5, 1], [7, 1]]
    np.testing.assert_allclose(weights_of(y, WEIGHTS), wanted)


SPEC = tf.TensorSpec((None, 1))


@pytest.mark.parametrize(
    ("weights", "spec", "message"),
    [
        ({"a": 1.0}, (SPEC, SPEC), "a dictionary of numbers, by number of class"),
        ({-1: 1.0}, (SPEC, SPEC), "a dictionary of numbers, by number of class"),
        ({0: "much"}, (SPEC, SPEC), "a dictionary of numbers, by number of class"),
        ({0: float("nan")}, (SPEC, SPEC), "a dictionary of numbers, by number of"),
        ({0: 1.0}, SPEC, "None without targets"),
        ({0: 1.0}, (SPEC,), "None without targets"),
        ({0: 1.0}, (SPEC, SPEC, SPEC), "None with weights of samples"),
        ({0: 1.0}, (SPEC, {"a": SPEC}), "None with several targets"),
    ],
)
def test_what_cannot_be_weighted(weights, spec, message):
    with pytest.raises(ValueError, match=f"`class_weight` must be {message}"):
        require_class_weight(weights, spec)


def test_what_can():
    require_class_weight(WEIGHTS, (SPEC, SPEC))
    require_class_weight(WEIGHTS, (SPEC, SPEC, None))
    require_class_weight(WEIGHTS, ({"a": SPEC, "b": SPEC}, SPEC))
