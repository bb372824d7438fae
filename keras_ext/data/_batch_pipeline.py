"""Pipelines of tf.data whose batches have the size that is set when they are drawn."""

import math
import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._typing import Data, Function, Tensor


class BatchSize:
    """The batch size, to be set on the host and read in pipelines.

    Args:
        value: The initial size.
        sizes: The sizes that it may have, sorted.
    """

    def __init__(self, value: int, sizes: tuple[int, ...]) -> None:
        self.value = value
        self.sizes = sizes
        self._variable: tf.Variable
        # The scope of a strategy, which would mirror the variable, is of its thread.
        thread = threading.Thread(target=self._make_variable)
        thread.start()
        thread.join()

    def _make_variable(self) -> None:
        with tf.device("CPU:0"):
            self._variable = tf.Variable(self.value, dtype=tf.int64, trainable=False)

    def assign(self, value: int) -> None:
        if value != self.value:
            self.value = value
            self._variable.assign(value)

    def read(self) -> Tensor:
        return self._variable.read_value()


class Draws:
    """Decides how many samples each batch gets, and keeps count.

    It makes the decision where the batch is made, in the threads of the pipeline, and
    tells the host when batches begin to have another size: so the host always knows
    the number of batches, and hears nothing while all stays as it is. Of an epoch that
    is read more than once, as Keras does before the first, the latest reading counts.

    Args:
        num_samples: How many samples an epoch has.
        size: The `BatchSize`.
        drop_remainder: Whether all batches have one of the sizes. Then the end of an
            epoch is made of smaller ones, and what does not fill the smallest is left.
        order: Returns the number that determines the order of the samples.
    """

    def __init__(
        self,
        num_samples: int,
        size: BatchSize,
        drop_remainder: bool,
        order: Callable[[], int],
    ) -> None:
        self.num_samples = num_samples
        self.size = size
        self.drop_remainder = drop_remainder
        self.order = order
        self.drawn_sizes: set[int] = set()
        # Several workers would not read a new size at the same batch.
        self.whole_epochs = False
        self._passes = 0
        self._latest: tuple[int, int, int] | None = None
        # No epoch has more batches than this, whatever the sizes.
        self.most = math.ceil(num_samples / size.sizes[0]) + 1

    def count(self) -> int:
        """The number of batches in the present epoch, if the size stays as it is."""
        step, position, drawn = self._latest or (0, 0, self.size.value)
        rest = self.num_samples - position
        if not self.drop_remainder:
            return step + math.ceil(rest / drawn)
        for size in (drawn, *reversed(self.size.sizes)):
            if size <= drawn:
                step, rest = step + rest // size, rest % size
        return step

    def begin(self) -> Tensor:
        """In the pipeline: begins an epoch; returns its number, order and size."""

        def note() -> np.ndarray:
            self._passes += 1
            self._latest = None
            return np.array([self._passes, self.order(), self.size.value], np.int64)

        return tf.ensure_shape(tf.numpy_function(note, [], tf.int64), (3,))

    def next(
        self, begun: Tensor, step: Tensor, position: Tensor, last: Tensor
    ) -> Tensor:
        """In the pipeline: the number of samples of the next batch, 0 at the end."""
        rest = self.num_samples - position
        drawn = tf.minimum(begun[2] if self.whole_epochs else self.size.read(), rest)
        if self.drop_remainder:
            sizes = tf.constant(self.size.sizes, tf.int64)
            drawn = tf.reduce_max(tf.where(sizes <= drawn, sizes, 0))

        def note(
            number: np.int64, step: np.int64, position: np.int64, drawn: np.int64
        ) -> np.int64:
            if number == self._passes:
                self._latest = int(step), int(position), int(drawn)
                self.drawn_sizes.add(int(drawn))
            return drawn

        def tell() -> Tensor:
            told = [begun[0], step, position, drawn]
            return tf.ensure_shape(tf.numpy_function(note, told, tf.int64), ())

        changed = tf.logical_and(drawn > 0, tf.not_equal(drawn, last))
        return tf.cond(changed, tell, lambda: drawn)


def array_batches(arrays: Data, draws: Draws, seed: int | None) -> Data:
    """A dataset of the batches of one epoch of arrays; shuffled if there is a seed."""
    in_order = tf.range(draws.num_samples, dtype=tf.int64)

    def begin() -> tuple[Tensor, Tensor]:
        begun = draws.begin()
        if seed is None:
            return begun, in_order
        key = tf.stack([tf.constant(seed, tf.int64), begun[1]])
        return begun, tf.random.experimental.stateless_shuffle(in_order, key)

    def draw(
        state: tuple[Tensor, ...], step: Tensor
    ) -> tuple[tuple[Tensor, ...], Data]:
        begun, rows, position, last = state
        begun, rows = tf.cond(tf.equal(step, 0), begin, lambda: (begun, rows))
        drawn = draws.next(begun, step, position, last)
        chosen = rows[position : position + drawn]
        batch = keras.tree.map_structure(
            lambda a: tf.gather(a, chosen), arrays, none_is_leaf=False
        )
        return (begun, rows, position + drawn, drawn), batch

    # Each stage takes time for each batch, and at the beginning of each epoch: so there
    # are few of them, and one does nearly all.
    state = (tf.zeros(3, tf.int64), in_order, _zero(), _zero())
    batches = tf.data.Dataset.range(draws.most).scan(state, _plain(draw))
    return batches.take_while(_plain(_has_samples))


def dataset_batches(
    source: tf.data.Dataset,
    draws: Draws,
    shuffle: Callable[[tf.data.Dataset, Tensor], tf.data.Dataset],
) -> tf.data.Dataset:
    """A dataset of the batches of one epoch of a dataset of samples.

    The samples come in blocks that all sizes are multiples of, and are collected until
    there are enough.
    """
    # All sizes are multiples of it: no block is ever divided.
    block = math.gcd(*draws.size.sizes)
    specs = tf.nest.flatten(source.element_spec)

    def empty() -> tuple[tf.TensorArray, ...]:
        return tuple(
            tf.TensorArray(
                s.dtype,
                size=0,
                dynamic_size=True,
                infer_shape=False,
                element_shape=(None, *s.shape),
            )
            for s in specs
        )

    def epoch(begun: Tensor) -> tf.data.Dataset:
        def collect(state: Any, samples: Data) -> Any:
            held, (count, drawn, step, position) = state

            def next_batch() -> tuple[Tensor, ...]:
                new = draws.next(begun, step, position, drawn)
                return _zero(), new, step + 1, position + new

            counts = (count, drawn, step, position)
            counts = tf.cond(count < drawn, lambda: counts, next_batch)
            count, drawn, step, position = counts
            samples = tf.nest.flatten(samples)
            pairs = zip(held, samples, strict=True)
            held = tuple(h.write(h.size(), s) for h, s in pairs)
            count += tf.shape(samples[0], tf.int64)[0]
            full = count >= drawn
            batch = tf.cond(
                full,
                lambda: [h.concat() for h in held],
                lambda: [s[:0] for s in samples],
            )
            held = tf.cond(full, empty, lambda: held)
            batch = tf.nest.pack_sequence_as(source.element_spec, batch)
            return (held, (count, drawn, step, position)), (drawn > 0, full, batch)

        blocks = shuffle(source, begun[1]).take(draws.num_samples).batch(block)
        drawn = blocks.scan((empty(), (_zero(),) * 4), _plain(collect))
        drawn = drawn.take_while(_plain(_first)).filter(_plain(_second))
        return drawn.map(_plain(lambda more, full, batch: batch))

    begin = tf.data.Dataset.range(1).map(_plain(lambda _: draws.begin()))
    return begin.flat_map(_plain(epoch))


def shuffled(
    source: tf.data.Dataset, buffer_size: int, seed: int, order: Tensor
) -> tf.data.Dataset:
    """A dataset whose order is determined by two numbers, of which one is a tensor.

    `Dataset.shuffle` would also take a tensor, but not if the global seed is 0.
    """
    specs = tf.nest.flatten(source.element_spec)
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(source),
        buffer_size=tf.constant(buffer_size, tf.int64),
        seed=tf.constant(seed, tf.int64),
        seed2=order,
        output_types=[spec.dtype for spec in specs],
        output_shapes=[spec.shape for spec in specs],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(variant, source.element_spec)


def split_for_replicas(
    batches: tf.data.Dataset, context: tf.distribute.InputContext
) -> tf.data.Dataset:
    """Splits each batch into those of the replicas of this worker."""
    replicas = context.num_replicas_in_sync
    # The workers take turns, since that is how Keras puts predictions in order.
    workers, first = context.num_input_pipelines, context.input_pipeline_id

    def parts(*batch: Data) -> tf.data.Dataset:
        def of(replica: Tensor) -> Data:
            def part(rows: Tensor) -> Tensor:
                count = tf.shape(rows, tf.int64)[0]
                # As `_shares` of `_replica_weights.py` reckons.
                begin, end = (count * (replica + i) // replicas for i in (0, 1))
                return rows[begin:end]

            return keras.tree.map_structure(
                part,
                batch if isinstance(batches.element_spec, tuple) else batch[0],
                none_is_leaf=False,
            )

        return tf.data.Dataset.range(first, replicas, workers).map(_plain(of))

    return batches.flat_map(_plain(parts))


def with_few_threads(batches: tf.data.Dataset, alone: bool) -> tf.data.Dataset:
    """Spares a pipeline what takes longer than it can gain here.

    Args:
        batches: The dataset.
        alone: Whether one thread does all of it. Handing the few operations of a batch
            of arrays from thread to thread takes longer than they do.
    """
    options = tf.data.Options()
    # As Keras does for arrays.
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    if alone:
        options.threading.private_threadpool_size = 1
    return batches.with_options(options)


def _zero() -> Tensor:
    return tf.constant(0, tf.int64)


def _has_samples(*batch: Data) -> Tensor:
    first = next(a for a in tf.nest.flatten(batch) if a is not None)
    return tf.shape(first)[0] > 0


def _first(first: Tensor, *rest: Data) -> Tensor:
    return first


def _second(first: Tensor, second: Tensor, *rest: Data) -> Tensor:
    return second


def _plain(function: Function) -> Function:
    """Spares a function that is a graph already the time of converting it to one."""
    return tf.autograph.experimental.do_not_convert(function)
