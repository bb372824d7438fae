"""What users give as data, checked and made one kind."""

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Tensor


def checked_dataset(x: Data, y: Data, sample_weight: Data) -> tf.data.Dataset:
    """A dataset of single samples; raises if it is none, or if more was given."""
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        require(value is None, name, value, "None; the dataset has to yield it")
    specs = tf.nest.flatten(x.element_spec)
    plain = all(isinstance(spec, tf.TensorSpec) for spec in specs)
    require(plain, "x.element_spec", x.element_spec, "made of plain tensors")
    batched = any(spec.shape.rank and spec.shape[0] is None for spec in specs)
    hint = "Give samples, not batches: dataset.unbatch() takes them apart."
    require(not batched, "x.element_spec", x.element_spec, "of known length", hint)
    return x


def length_of(dataset: Data) -> int:
    """The number of samples in a dataset; raises if it is not known."""
    length = int(dataset.cardinality())
    hint = "How many samples are in an epoch is not known; give `num_samples`."
    require(length >= 0, "x.cardinality()", length, "the number of samples", hint)
    require(length > 0, "x.cardinality()", length, "at least 1")
    return length


def tensors_of(x: Data, y: Data, sample_weight: Data) -> tuple[tuple[Data, ...], int]:
    """The data on the CPU, as Keras would give them to the model; and their length."""
    given = {"x": x, "y": y, "sample_weight": sample_weight}
    require(x is not None, "x", x, "arrays or a tf.data.Dataset")
    if sample_weight is None:
        del given["sample_weight"]
        if y is None:
            del given["y"]
    with tf.device("CPU:0"):
        tensors = tuple(_tensors(name, value) for name, value in given.items())
    found = {name: _lengths(t) for name, t in zip(given, tensors, strict=True)}
    lengths = set().union(*found.values())
    names = ", ".join(given)
    valid = len(lengths) == 1
    require(valid, names, found, "arrays of equally many samples")
    (length,) = lengths
    require(length > 0, names, "0 samples", "of one sample or more")
    return tensors, length


def arrays_of(data: Data) -> Data:
    """The data of tensors as arrays, which can be pickled."""
    get = lambda tensor: tensor.numpy()  # noqa: E731
    return keras.tree.map_structure(get, data, none_is_leaf=False)


def constants_of(arrays: Data) -> Data:
    """The tensors that `arrays_of` was given, on the CPU."""
    with tf.device("CPU:0"):
        return keras.tree.map_structure(tf.constant, arrays, none_is_leaf=False)


def _tensors(name: str, value: Data) -> Data:
    leaves = keras.tree.flatten(value)
    some = value is None or any(leaf is not None for leaf in leaves)
    require(some, name, value, "arrays, at least one")
    return keras.tree.map_structure(
        lambda a: a if a is None else _tensor(name, a),
        keras.tree.lists_to_tuples(value),
    )


def _lengths(tensors: Data) -> set[int]:
    return {len(a) for a in keras.tree.flatten(tensors) if a is not None}


def _tensor(name: str, value: Data) -> Tensor:
    array = value if isinstance(value, tf.Tensor) else np.asarray(value)
    try:
        dtype = tf.as_dtype(array.dtype)
    except TypeError:
        # What TensorFlow does not know is refused with all that is not plain.
        dtype = tf.variant
    valid = array.ndim > 0 and (dtype.is_numpy_compatible and array.dtype != object)
    require(valid, name, value, "arrays of numbers or texts, with an axis of samples")
    tensor = tf.convert_to_tensor(array)
    # As Keras does.
    return tf.cast(tensor, keras.config.floatx()) if dtype.is_floating else tensor
