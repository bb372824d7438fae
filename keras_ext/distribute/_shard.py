"""A dataset of whole batches, divided among the replicas of all workers."""

from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._typing import Data
from keras_ext._keras._data_adapter import FitData
from keras_ext.data._batch_pipeline import split_for_replicas
from keras_ext.data._class_weights import class_weighted, require_class_weight
from keras_ext.data._replica_weights import weighted_for_replicas


def shard(dataset: tf.data.Dataset) -> Data:
    """Divides each batch of a dataset among the replicas, so that no sample is lost.

    Give `fit`, `evaluate` or `predict` the result in place of the dataset. Call it and
    them within `keras_ext.distribute.MultiWorker`, on every worker, with a dataset that
    yields the same batches everywhere: the same files, and the same seed if it is
    shuffled. Every worker reads all of it and keeps its part.

    Where a batch is not divisible, Keras takes the mean of the means of the parts: of 5
    samples on 2 replicas, each of the smaller part counts 1.5 times as much; of one
    alone only half is learned. Here sample weights make up for that, and a replica that
    would have no sample gets one of weight 0: the gradient is that of the whole batch,
    for losses that are means over the samples (the usual ones).

    Metrics of `compile(metrics=...)` count every sample once, but for the filling
    samples of a batch smaller than the number of replicas. The reported loss and
    weighted metrics are exact while batches are divisible, and nearly so otherwise.

    Without targets, as for `predict`, there are no weights to give, and a replica may
    get no sample; the predictions come in the order of the dataset.

    Args:
        dataset: A `tf.data.Dataset` of batches of `x`, `(x, y)` or
            `(x, y, sample_weight)`, each of dense tensors. If it does not know its
            length, `tf.data.experimental.assert_cardinality` can tell it.

    Returns:
        Data for `fit`, `evaluate` and `predict`.

    Raises:
        ValueError: If it is not a dataset, or not of dense tensors in batches.

    Examples:
        >>> import keras, numpy as np, tensorflow as tf
        >>> import keras_ext as kx
        >>> x, y = np.ones((34, 4)), np.ones((34, 1))
        >>> with kx.distribute.MultiWorker():
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        ...     model.compile("sgd", "mse")
        ...     dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        ...     history = model.fit(kx.distribute.shard(dataset), verbose=0)
        >>> int(model.optimizer.iterations)
        5
    """
    valid = isinstance(dataset, tf.data.Dataset)
    require(valid, "dataset", dataset, "a tf.data.Dataset")
    specs = tf.nest.flatten(dataset.element_spec)
    valid = all(isinstance(s, tf.TensorSpec) and s.shape.rank != 0 for s in specs)
    hint = "dataset.batch(size) makes batches."
    require(valid, "dataset.element_spec", dataset.element_spec, "of batches", hint)
    return _Sharded(dataset)


class _Sharded(FitData):
    """What `fit` takes."""

    def __init__(self, dataset: Data) -> None:
        self._dataset = dataset
        self._strategy = tf.distribute.get_strategy()
        self._replicas = int(self._strategy.num_replicas_in_sync)
        self._class_weight: Mapping[int, float] | None = None

    def begin_run(self, class_weight: Data) -> None:
        if class_weight is not None:
            require_class_weight(class_weight, self._dataset.element_spec)
        self._class_weight = class_weight

    def get_tf_dataset(self) -> Data:
        if self._replicas == 1:
            return self._weighted()
        return self._strategy.distribute_datasets_from_function(self._parts)

    def _parts(self, context: tf.distribute.InputContext) -> tf.data.Dataset:
        batches = weighted_for_replicas(self._weighted(), self._replicas)
        return split_for_replicas(batches, context).prefetch(tf.data.AUTOTUNE)

    def _weighted(self) -> tf.data.Dataset:
        if self._class_weight is None:
            return self._dataset
        return class_weighted(self._dataset, self._class_weight)

    @property
    def num_batches(self) -> int | None:
        number = int(self._dataset.cardinality())
        # TensorFlow has -1 for no end, and -2 where it does not know.
        return number if number >= 0 else None

    @property
    def batch_size(self) -> int | None:
        return tf.nest.flatten(self._dataset.element_spec)[0].shape[0]

    @property
    def has_partial_batch(self) -> bool | None:
        return None

    @property
    def partial_batch_size(self) -> int | None:
        return None

    def get_numpy_iterator(self) -> Iterator[Data]:
        for batch in self._dataset:
            yield keras.tree.map_structure(np.asarray, batch)

    get_jax_iterator = get_numpy_iterator
