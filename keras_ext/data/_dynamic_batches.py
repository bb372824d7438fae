"""Batches whose size can change in the middle of `fit`."""

import functools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import checked_seed, flag, integer, require
from keras_ext._core._described import Described
from keras_ext._core._typing import Data, Record, Tensor
from keras_ext._keras._data_adapter import FitData
from keras_ext._keras._fit_epoch import take_epoch, watch_epochs
from keras_ext._keras._model_runs import tell_when_runs_end
from keras_ext.data import _batch_pipeline as pipeline
from keras_ext.data import _samples as samples
from keras_ext.data._class_weights import class_weighted, require_class_weight
from keras_ext.data._orders import Orders
from keras_ext.data._replica_weights import weighted_for_replicas
from keras_ext.data._sizes import checked_shuffle, chosen_sizes
from keras_ext.data._step_count import StepCount, leave_plain_steps

_PICKLED = ("shuffle", "seed", "drop_remainder", "prefetch", "sizes", "num_samples")


class DynamicBatches(Described, FitData):
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

    `fit` takes `class_weight` with it, as with arrays, and `validation_split` is an
    error. Its `shuffle` and `batch_size` have no effect, as with a dataset; the data
    have their own. `evaluate` and `predict` accept it, too; for `predict` use
    `shuffle=False`.

    With a `seed`, the order depends only on the number of the epoch: a `fit` that
    resumes, by `initial_epoch` or `BackupAndRestore`, has the samples in the order that
    they would have had without the interruption. It can be pickled if it holds arrays.
    A deep copy is the same object, so that a copied callback moves the batches of
    `fit`.

    Args:
        x: Arrays, alone or in dictionaries, tuples and lists; or a `tf.data.Dataset` of
            single samples, not in batches, `x` or `(x, y)` or `(x, y, sample_weight)`.
        y: Targets, as `x`. None if `x` is a dataset.
        sample_weight: Weights of the samples, as `x`. None if `x` is a dataset.
        batch_size: Integer >= 1, the size to begin with, over all replicas.
            Defaults to `32`.
        shuffle: Whether to shuffle again in each epoch. For a dataset, within a
            buffer of 10000 samples, or of this integer if one is given.
            Defaults to `True`.
        seed: Integer from 0 to 2**31 - 1 for the order. None to draw one.
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
        x: Data,
        y: Data = None,
        sample_weight: Data = None,
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
        batch_size = integer(batch_size, "batch_size", low=1)
        most = integer(max_batch_size, "max_batch_size", low=batch_size, optional=True)
        self.prefetch = integer(prefetch, "prefetch", low=0)
        self.shuffle = checked_shuffle(shuffle)
        seed = checked_seed(seed)
        self.seed = random.randrange(2**31) if seed is None else seed
        self.drop_remainder = flag(drop_remainder, "drop_remainder")
        num_samples = integer(num_samples, "num_samples", low=1, optional=True)
        self._is_dataset = isinstance(x, tf.data.Dataset)
        if self._is_dataset:
            self._data = samples.checked_dataset(x, y, sample_weight)
            self.num_samples = num_samples or samples.length_of(x)
        else:
            require(num_samples is None, "num_samples", num_samples, "None for arrays")
            self._data, self.num_samples = samples.tensors_of(x, y, sample_weight)
        self.sizes = chosen_sizes(sizes, batch_size, most, self.num_samples)
        self._take_strategy()
        self._begin(batch_size)

    def _take_strategy(self) -> None:
        """Divides batches among the replicas of the strategy whose scope is open."""
        strategy = tf.distribute.get_strategy()
        self._strategy = strategy if tf.distribute.has_strategy() else None
        replicas = strategy.num_replicas_in_sync
        valid = all(size % replicas == 0 for size in self.sizes)
        expected = f"divisible by the number of replicas, {replicas}"
        require(valid, "sizes", self.sizes, expected)

    def _begin(self, batch_size: int) -> None:
        """Sets what belongs to this object alone, and to no copy of it."""
        watch_epochs()
        tell_when_runs_end(leave_plain_steps)
        self._size = pipeline.BatchSize(batch_size, self.sizes)
        self._orders = Orders()
        self._class_weight: Mapping[int, float] | None = None
        self._endless = False
        self._drawn: set[int] = set()
        self._draws = self._new_draws()
        self._asked = StepCount(self._draws)

    def _new_draws(self) -> pipeline.Draws:
        order = lambda: self._orders.present  # noqa: E731
        draws = pipeline.Draws(self.num_samples, self._size, self.drop_remainder, order)
        draws.drawn_sizes = self._drawn
        return draws

    @property
    def batch_size(self) -> int:
        """The size of the batches that are prepared from now on."""
        return self._size.value

    @batch_size.setter
    def batch_size(self, value: int) -> None:
        value = integer(value, "batch_size", low=1)
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

    def begin_run(self, class_weight: Data) -> None:
        if class_weight is not None:
            spec = self._data.element_spec if self._is_dataset else self._data
            require_class_weight(class_weight, spec)
        self._class_weight = class_weight

    def on_epoch_begin(self) -> None:
        self._orders.begin(take_epoch())

    def get_tf_dataset(self) -> Data:
        # Keras has asked for the number of steps just before, and `fit` will again.
        self._draws = self._asked.draws = self._new_draws()
        make = functools.partial(self._pipeline, class_weight=self._class_weight)
        own = self._strategy
        return make() if own is None else own.distribute_datasets_from_function(make)

    def _pipeline(
        self,
        context: tf.distribute.InputContext | None = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> tf.data.Dataset:
        several = context is not None and context.num_input_pipelines > 1
        self._draws.whole_epochs = several
        if self._is_dataset:
            batches = pipeline.dataset_batches(self._data, self._draws, self._shuffled)
        else:
            seed = self.seed if self.shuffle else None
            batches = pipeline.array_batches(self._data, self._draws, seed)
        if class_weight is not None:
            batches = class_weighted(batches, class_weight)
        if self._endless:
            batches = batches.repeat()
        if context is not None:
            replicas = context.num_replicas_in_sync
            # All sizes are divisible: only the last batch of an epoch may be none such.
            if self.num_samples % replicas and not self.drop_remainder:
                batches = weighted_for_replicas(batches, replicas)
            batches = pipeline.split_for_replicas(batches, context)
        batches = pipeline.with_few_threads(batches, alone=not self._is_dataset)
        return batches.prefetch(self.prefetch) if self.prefetch else batches

    def _shuffled(self, source: tf.data.Dataset, order: Tensor) -> tf.data.Dataset:
        if not self.shuffle:
            return source
        buffer = 10_000 if self.shuffle is True else self.shuffle
        return pipeline.shuffled(
            source, min(buffer, self.num_samples), self.seed, order
        )

    def of_one_size(self, size: int, shuffle: bool = False) -> Self:
        """The same data without end, in batches of this size only; for trials."""
        trial = self.__copy__()
        trial.sizes = (size,)
        trial.shuffle = shuffle and self.shuffle
        trial.drop_remainder = True
        trial._begin(size)
        trial._endless = True
        return trial

    def plain_data(self) -> tuple[Data, ...] | tf.data.Dataset:
        """The same data as `fit` takes it, for those who measure: a tuple or a dataset.

        Reading it does not move the batches of `fit`.
        """
        if self._is_dataset:
            return self._data.batch(32)
        return self._data if len(self._data) > 1 else (*self._data, None)

    def __iter__(self) -> Iterator[Data]:
        """Yields the batches of one epoch, for a training loop of your own."""
        self._orders.begin(None)
        self._draws = self._new_draws()
        yield from self._pipeline()

    def get_numpy_iterator(self) -> Iterator[Data]:
        for batch in self:
            yield keras.tree.map_structure(np.asarray, batch)

    get_jax_iterator = get_numpy_iterator

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        # A copied callback, as KerasTuner makes them, moves the batches that `fit` has.
        return self

    def __copy__(self) -> Self:
        copied = type(self).__new__(type(self))
        copied.__dict__.update(vars(self))
        copied._begin(self.batch_size)
        return copied

    def __getstate__(self) -> Record:
        if self._is_dataset:
            raise TypeError(
                "DynamicBatches of a tf.data.Dataset cannot be pickled, since no "
                "dataset can. Give it arrays, or make it where it is needed."
            )
        state = {name: vars(self)[name] for name in _PICKLED}
        data = samples.arrays_of(self._data)
        return {**state, "data": data, "batch_size": self.batch_size}

    def __setstate__(self, state: Record) -> None:
        self.__dict__.update({name: state[name] for name in _PICKLED})
        self._is_dataset = False
        self._data = samples.constants_of(state["data"])
        self._take_strategy()
        self._begin(state["batch_size"])
