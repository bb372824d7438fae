"""Micro-batches, kept until an update is made of them."""

import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

import keras
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._dtypes import wide_dtype
from keras_ext._core._typing import Strategy, Tensor, Variable
from keras_ext._keras import _replica
from keras_ext._keras._replica import PerReplica
from keras_ext._live._hyper_variable import HyperVariable


class EndUpdate(Protocol):
    """Ends an update, in cross-replica context, with the mean of its micro-batches."""

    def __call__(
        self,
        strategy: Strategy,
        count: Tensor | float,
        gradients: Sequence[PerReplica],
        local: Sequence[PerReplica],
        direct: Sequence[PerReplica],
    ) -> None:
        """Takes their number, gradients, sums of local measures, and what replaces."""


class NoAccumulation:
    """Makes an update of every batch, at once.

    Args:
        end: What ends an update.
    """

    variables: Sequence[Variable] = ()
    num_waiting = 0

    def __init__(self, end: EndUpdate) -> None:
        self._end = end

    def is_first(self) -> Tensor:
        """Whether the present batch is the first of its update."""
        return tf.constant(True)

    def add(
        self,
        variables: Sequence[Variable],
        gradients: Sequence[Tensor],
        local: Sequence[Tensor],
        direct: Sequence[Tensor],
    ) -> None:
        """Takes in a batch, on every replica."""
        del variables
        _replica.merge(
            lambda strategy, *values: self._end(strategy, 1.0, *values),
            gradients,
            local,
            direct,
        )

    def end_early(self, strategy: Strategy) -> None:
        """Nothing ever waits."""


class Accumulation:
    """Makes an update of the mean of several micro-batches.

    The first value replaces what is kept, and the last one is never stored: so one
    micro-batch per update costs no pass over the sums.

    Args:
        steps: How many micro-batches an update is made of.
        variables: The weights.
        local_shapes: The shapes of what signals measure locally.
        weigh: Returns by what the loss of the present micro-batch was multiplied, and
            what it adds to the number that the sum is divided by, on a replica. None
            means that all count the same.
        end: What ends an update.
    """

    def __init__(
        self,
        steps: HyperVariable,
        variables: Sequence[Variable],
        local_shapes: Sequence[Sequence[int]],
        weigh: Callable[[], tuple[Tensor, Tensor]] | None,
        end: EndUpdate,
    ) -> None:
        self._steps = steps
        self._weigh = weigh
        self._end = end
        self._micro_steps = _replica.counter("micro_steps")
        self._sums = {
            id(v): _sum(v.shape, v.path.replace("/", "_"), v.dtype) for v in variables
        }
        self._num_local = len(local_shapes)
        shapes = [*local_shapes, *([()] if weigh else [])]
        self._local_sums = [_sum(shape, "local", "float32") for shape in shapes]
        # The weights of the step that was traced last.
        self._variables: Sequence[Variable] = ()
        self._step: weakref.ref[tf.Graph] | None = None

    @property
    def variables(self) -> list[Variable]:
        """Its state."""
        return [self._micro_steps, *self._sums.values(), *self._local_sums]

    @property
    def num_waiting(self) -> int:
        """How many micro-batches wait for their update; read on the host."""
        return int(keras.ops.convert_to_numpy(self._micro_steps))

    def is_first(self) -> Tensor:
        """Whether the present micro-batch is the first of its update."""
        return tf.equal(self._micro_steps.value, 0)

    def add(
        self,
        variables: Sequence[Variable],
        gradients: Sequence[Tensor],
        local: Sequence[Tensor],
        direct: Sequence[Tensor],
    ) -> None:
        """Takes in a micro-batch, on every replica."""
        del direct  # there are none: see `GradientPipeline.build`
        self._require_one_set(variables)
        self._variables = variables
        weight = []
        if self._weigh is not None:
            factor, share = self._weigh()
            weight = [share]
            # What signals measure is quadratic in the gradient, and of no weight. All
            # that is masked has none.
            squares = [tf.square(tf.cast(factor, x.dtype)) for x in local]
            local = list(map(tf.math.divide_no_nan, local, squares))
        _replica.merge(self._keep_or_end, [*gradients, *local, *weight])

    def _require_one_set(self, variables: Sequence[Variable]) -> None:
        """Raises if one step hands over one part of the weights after another.

        Each part would count as a micro-batch, and an update have some of the weights.
        """
        changed = [id(v) for v in variables] != [id(v) for v in self._variables]
        if tf.executing_eagerly():
            in_one_step = self.num_waiting > 0
        else:
            step, last = tf.compat.v1.get_default_graph(), self._step
            in_one_step = last is not None and last() is step
            self._step = weakref.ref(step)
        require(
            not (changed and in_one_step and self._variables),
            "trainable_variables",
            [v.path for v in variables],
            "those of the call before, in one step that accumulates",
            hint="Give each part its own optimizer, or apply one once, to all weights.",
        )

    def _keep_or_end(self, strategy: Strategy, values: Sequence[PerReplica]) -> None:
        """Keeps a micro-batch or, if it is the last, ends the update; cross-replica."""
        # A step that meets the end of the data fails in the middle, and what does not
        # depend on the data still runs: it would count a step that never was.
        with tf.control_dependencies([_replica.first_replica(strategy, values[0])]):
            done = self._micro_steps.value + 1
        is_last = done >= self._steps.value
        self._micro_steps.assign(tf.where(is_last, 0, done))
        tf.cond(
            is_last,
            lambda: self._end_with(strategy, done, values),
            lambda: _replica.each_replica(strategy, self._keep, done, *values),
        )

    def _keep(self, count: Tensor, *values: Tensor) -> None:
        kept = tf.where(tf.equal(count, 1), 0.0, 1.0)
        for sum_, value in zip(self._present_sums(), values, strict=True):
            present = _replica.native(sum_)
            old = tf.math.multiply_no_nan(present, tf.cast(kept, present.dtype))
            sum_.assign(old + tf.cast(value, sum_.dtype))

    def _present_sums(self) -> list[Variable]:
        return [*(self._sums[id(v)] for v in self._variables), *self._local_sums]

    def _end_with(
        self, strategy: Strategy, count: Tensor, last: Sequence[PerReplica]
    ) -> None:
        """Ends an update with what was kept and a last micro-batch."""
        completed = _replica.each_replica(strategy, self._completed, count, *last)
        self._end_with_means(strategy, count, completed)

    def end_early(self, strategy: Strategy) -> None:
        """Ends an update with the micro-batches that there are; cross-replica."""
        count = self._micro_steps.value
        means = _replica.each_replica(strategy, self._means, count)
        self._end_with_means(strategy, count, means)
        self._micro_steps.assign(0)

    def _end_with_means(
        self, strategy: Strategy, count: Tensor, means: Sequence[PerReplica]
    ) -> None:
        num_weights = len(self._variables)
        self._end(strategy, count, means[:num_weights], means[num_weights:], [])

    def _completed(self, count: Tensor, *last: Tensor) -> list[Tensor]:
        return tf.cond(
            tf.equal(count, 1),
            # One alone has no weight.
            lambda: [
                tf.identity(v) for v in last[: len(self._variables) + self._num_local]
            ],
            lambda: self._means(count, *last),
        )

    def _means(self, count: Tensor, *last: Tensor) -> list[Tensor]:
        """The means of the gradients, and the sums of the rest."""
        sums = [_replica.native(s) for s in self._present_sums()]
        if last:
            pairs = zip(sums, last, strict=True)
            sums = [tf.cast(s, v.dtype) + v for s, v in pairs]
        num_weights = len(self._variables)
        total = count if self._weigh is None else sums.pop()
        means = [
            tf.math.divide_no_nan(s, tf.cast(total, s.dtype))
            for s in sums[:num_weights]
        ]
        return [*means, *(tf.identity(s) for s in sums[num_weights:])]


def _sum(shape: Sequence[int], name: str, dtype: str) -> Variable:
    return _replica.local_variable(shape, wide_dtype(dtype), f"{name}_sum", total="sum")
