"""Batches whose size can change in the middle of `fit`."""

import copy
import random
from collections.abc import Iterator, Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import is_integer, require
from keras_ext._keras._data_adapter import DataAdapter
from keras_ext.data._batch_pipeline import (
    BatchSize,
    Draws,
    array_batches,
    dataset_batches,
    shuffled,
    split_for_replicas,
)
from keras_ext.data._replica_weights import weighted_for_replicas
from keras_ext.data._step_count import StepCount

_GROWTH = 32


class DynamicBatches(DataAdapter):
    """Data for `fit`, in batches whose size can change at any time.

    Give it to `fit` in place of the arrays, and set `batch_size` from a callback, after
    any batch or epoch. An epoch is always exact: every sample comes once, however the
    size moves. The progress bar knows the number of steps. The step is traced once for
    all sizes; with `jit_compile=True` it is compiled once for each size that occurs,
    and the sizes come from a short list.

    The size is read when a batch is prepared. With `prefetch=1` that is while the step
    before it runs, so that a change takes effect one or two batches later (a few more
    under a strategy), but always by the first batch of the next epoch.

    Create it within the scope of the strategy if there are several workers: every
    worker then takes its part of each batch. It has to hold, or be able to read, all
    data on every worker, with the same `seed`, and the callbacks have to set the same
    sizes everywhere; they take effect with the next epoch. With one worker the scope is
    not needed, except that, where the last batch of an epoch is not divisible by the
    number of replicas, sample weights make up for it within the scope only, as those of
    `keras_ext.distribute.shard` do.

    `fit` cannot see into it: arguments such as `class_weight`, `shuffle` or
    `validation_split` have no effect. `evaluate` and `predict` accept it, too; for
    `predict` use `shuffle=False`.

    Args:
        x: Arrays, alone or in dictionaries, tuples and lists; or a `tf.data.Dataset` of
            single samples, not in batches, `x` or `(x, y)` or `(x, y, sample_weight)`.
        y: Targets, as `x`. None if `x` is a dataset.
        sample_weight: Weights of the samples, as `x`. None if `x` is a dataset.
        batch_size: Integer >= 1, the size to begin with, over all replicas.
            Defaults to `32`.
        shuffle: Whether to shuffle, anew in each epoch. Of a dataset that is done in a
            buffer of 10000 samples, or of so many as this integer says.
            Defaults to `True`.
        seed: Integer that determines the order. None to draw one.
        drop_remainder: Whether all batches have one of `sizes`. Then what is left at
            the end of an epoch comes in smaller ones, and what does not fill the
            smallest is left out of this epoch. If not, the last batch is smaller.
            Defaults to `False`.
        sizes: List of integers >= 1, the sizes that batches may have. None means
            `batch_size` and its multiples by 2, 4, 8 and so on up to `max_batch_size`.
        max_batch_size: Integer >= `batch_size`. None means 32 times `batch_size`. Only
            without `sizes`.
        num_samples: Integer >= 1, the number of samples in an epoch of a dataset. None
            if the dataset knows it.
        prefetch: Integer >= 0, how many batches are prepared ahead. Defaults to `1`.

    Attributes:
        batch_size: The present size. If it is set to another number, the largest of
            `sizes` that is not larger is taken, or else the smallest.
        sizes: The sizes that it can have, sorted.
        drawn_sizes: The sizes that batches have had so far, sorted; smaller last
            batches, too. With `jit_compile=True`, each was compiled once.
        num_samples: The number of samples in an epoch.
        num_batches: The number of batches in this epoch if the size stays as it is.

    Raises:
        ValueError: If an argument is out of range, if the arrays differ in length, if
            the length of a dataset is unknown, or, within the scope of a strategy, if a
            size is not divisible by the number of replicas.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x, y = np.ones((96, 4)), np.ones((96, 1))
        >>> batches = kx.data.DynamicBatches(x, y, batch_size=8)
        >>> batches.sizes
        (8, 16, 32, 64)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> grow = keras.callbacks.LambdaCallback(
        ...     on_epoch_begin=lambda epoch, logs: setattr(
        ...         batches, "batch_size", 8 * 2**epoch
        ...     )
        ... )
        >>> history = model.fit(batches, epochs=3, callbacks=[grow], verbose=0)
        >>> int(model.optimizer.iterations)  # 12 + 6 + 3
        21
        >>> batches.drawn_sizes
        (8, 16, 32)
    """

    def __init__(  # noqa: PLR0913
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        batch_size: int = 32,
        shuffle: bool | int = True,
        seed: int | None = None,
        drop_remainder: bool = False,
        sizes: Sequence[int] | None = None,
        max_batch_size: int | None = None,
        num_samples: int | None = None,
        prefetch: int = 1,
    ) -> None:
        _require_integer("batch_size", batch_size, 1)
        _require_integer("max_batch_size", max_batch_size, batch_size, optional=True)
        _require_integer("num_samples", num_samples, 1, optional=True)
        _require_integer("prefetch", prefetch, 0)
        _require_integer("shuffle", int(shuffle), 0)
        _require_integer("seed", seed, 0, optional=True)
        self._is_dataset = isinstance(x, tf.data.Dataset)
        if self._is_dataset:
            self._data = _checked_dataset(x, y, sample_weight)
            self.num_samples = num_samples or _length_of(x)
        else:
            require(num_samples is None, "num_samples", num_samples, "None for arrays")
            self._data, self.num_samples = _tensors(x, y, sample_weight)
        self.shuffle = shuffle
        self.seed = random.randrange(2**31) if seed is None else int(seed)
        self.drop_remainder = drop_remainder
        self.prefetch = prefetch
        self._strategy = (
            tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
        )
        self.sizes = self._checked_sizes(sizes, batch_size, max_batch_size)
        self._size = BatchSize(batch_size, self.sizes)
        self._order = 0
        self._drawn: set[int] = set()
        self._draws = self._new_draws()
        self._asked = StepCount(self._draws)
        self._first_order: int | None = None
        self._endless = False

    def _checked_sizes(
        self, sizes: Any, first: int, most: int | None
    ) -> tuple[int, ...]:
        if sizes is None:
            most = min(most or _GROWTH * first, self.num_samples)
            steps = max(most // first, 1).bit_length()
            sizes = [first * 2**i for i in range(steps)]
        else:
            require(most is None, "max_batch_size", most, "None if there are sizes")
        valid = len(sizes) > 0 and all(is_integer(s) and s >= 1 for s in sizes)
        require(valid, "sizes", sizes, "integers >= 1")
        require(first in sizes, "batch_size", first, f"one of sizes={list(sizes)}")
        replicas = self._strategy.num_replicas_in_sync if self._strategy else 1
        require(
            all(s % replicas == 0 for s in sizes),
            "sizes",
            sizes,
            f"divisible by the number of replicas, {replicas}",
        )
        return tuple(sorted({int(s) for s in sizes}))

    def _new_draws(self) -> Draws:
        draws = Draws(
            self.num_samples, self._size, self.drop_remainder, lambda: self._order
        )
        draws.drawn_sizes = self._drawn
        return draws

    @property
    def batch_size(self) -> int:
        """The size of the batches that are prepared from now on."""
        return self._size.value

    @batch_size.setter
    def batch_size(self, value: int) -> None:
        _require_integer("batch_size", value, 1)
        self._size.assign(max([s for s in self.sizes if s <= value] or self.sizes[:1]))

    @property
    def drawn_sizes(self) -> tuple[int, ...]:
        """The sizes of the batches so far."""
        return tuple(sorted(self._drawn))

    @property
    def num_batches(self) -> StepCount:
        """The number of batches in this epoch; it follows the size."""
        self._asked = StepCount(self._draws)
        return self._asked

    def on_epoch_begin(self) -> None:
        self._order += 1

    def on_epoch_end(self) -> None:
        if self._first_order is not None:
            # `fit` has begun, and may have looked at a batch to build the model.
            self._order, self._first_order = self._first_order, None

    def get_tf_dataset(self) -> Any:
        # Keras has asked for the number of steps just before, and `fit` will again.
        self._draws = self._asked.draws = self._new_draws()
        self._first_order = self._order
        if self._strategy is None:
            return self._pipeline()
        return self._strategy.distribute_datasets_from_function(self._pipeline)

    def _pipeline(self, context: Any = None) -> Any:
        several = context is not None and context.num_input_pipelines > 1
        self._draws.whole_epochs = several
        if self._is_dataset:
            batches = dataset_batches(self._data, self._draws, self._shuffled)
        else:
            seed = self.seed if self.shuffle else None
            batches = array_batches(self._data, self._draws, seed)
        if self._endless:
            batches = batches.repeat()
        if context is not None:
            replicas = context.num_replicas_in_sync
            if self.num_samples % replicas and not self.drop_remainder:
                batches = weighted_for_replicas(batches, replicas)
            batches = split_for_replicas(batches, context)
        options = tf.data.Options()
        # As Keras does for arrays: optimizing takes longer than it can gain here.
        options.experimental_optimization.apply_default_optimizations = False
        options.autotune.enabled = False
        if not self._is_dataset:
            # Handing the few operations of a batch from thread to thread takes longer
            # than they do.
            options.threading.private_threadpool_size = 1
        batches = batches.with_options(options)
        return batches.prefetch(self.prefetch) if self.prefetch else batches

    def _shuffled(self, source: Any, order: Any) -> Any:
        if not self.shuffle:
            return source
        buffer = 10_000 if self.shuffle is True else self.shuffle
        return shuffled(source, min(buffer, self.num_samples), self.seed, order)

    def of_one_size(self, size: int) -> Self:
        """The same data without end, in batches of this size only; for trials."""
        trial = copy.copy(self)
        trial.sizes = (size,)
        trial.shuffle, trial.drop_remainder, trial._endless = False, True, True
        trial._size = BatchSize(size, trial.sizes)
        trial._drawn = set()
        trial._draws = trial._new_draws()
        trial._asked = StepCount(trial._draws)
        return trial

    def __iter__(self) -> Iterator[Any]:
        """Yields the batches of one epoch, for a training loop of your own."""
        self.on_epoch_begin()
        self._draws = self._new_draws()
        yield from self._pipeline()

    def get_numpy_iterator(self) -> Iterator[Any]:
        for batch in self:
            yield keras.tree.map_structure(np.asarray, batch)

    get_jax_iterator = get_numpy_iterator

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A copied callback, as KerasTuner makes them, moves the batches that `fit` has.
        return self


def _require_integer(name: str, value: Any, least: int, optional: bool = False) -> None:
    valid = (is_integer(value) and value >= least) or (optional and value is None)
    kind = " or None" if optional else ""
    require(valid, name, value, f"an integer >= {least}{kind}")


def _checked_dataset(x: Any, y: Any, sample_weight: Any) -> Any:
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        require(value is None, name, type(value), "None; the dataset has to yield it")
    specs = tf.nest.flatten(x.element_spec)
    plain = all(isinstance(spec, tf.TensorSpec) for spec in specs)
    require(plain, "x.element_spec", x.element_spec, "made of plain tensors")
    batched = any(spec.shape.rank and spec.shape[0] is None for spec in specs)
    hint = "Give samples, not batches: dataset.unbatch() takes them apart."
    require(not batched, "x.element_spec", x.element_spec, "of known length", hint)
    return x


def _length_of(dataset: Any) -> int:
    length = int(dataset.cardinality())
    hint = "How many samples are in an epoch is not known; give `num_samples`."
    require(length >= 0, "x.cardinality()", length, "the number of samples", hint)
    require(length > 0, "x.cardinality()", length, "at least 1")
    return length


def _tensors(x: Any, y: Any, sample_weight: Any) -> tuple[Any, int]:
    """The data on the CPU, as Keras would give them to the model; and their length."""
    data: tuple[Any, ...] = (x,)
    if y is not None or sample_weight is not None:
        data = (x, y) if sample_weight is None else (x, y, sample_weight)
    with tf.device("CPU:0"):
        tensors = keras.tree.map_structure(
            lambda a: a if a is None else _tensor(a), keras.tree.lists_to_tuples(data)
        )
    lengths = {len(a) for a in keras.tree.flatten(tensors) if a is not None}
    require(len(lengths) == 1, "x, y", sorted(lengths), "of equally many samples")
    (length,) = lengths
    require(length > 0, "x", "0 samples", "of one sample or more")
    return tensors, length


def _tensor(array: Any) -> Any:
    array = array if tf.is_tensor(array) else np.asarray(array)
    require(array.ndim > 0, "x, y", array, "arrays with an axis of samples")
    floating = keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(array.dtype)
    )
    return tf.convert_to_tensor(array, keras.config.floatx() if floating else None)
