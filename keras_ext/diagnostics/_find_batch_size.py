"""Finds the largest batch that fits, and the one that trains fastest."""

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import flag, integer, integers, number, require
from keras_ext._core._figures import new_figure
from keras_ext._core._progress import Progress
from keras_ext._core._tables import html_table
from keras_ext._core._typing import Data, Figure
from keras_ext.data import DynamicBatches
from keras_ext.diagnostics._left_as_it_was import left_as_it_was
from keras_ext.signals.machine._peak_memory import PeakMemory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMALLEST = 8
_LARGEST = 2**40
_NEARLY = 0.95
_WARM_UP = 2
_LONG_ENOUGH = 2.0  # seconds

_SHORTER = "Fewer `sizes` or `steps` make it shorter."


@dataclass(frozen=True)
class BatchSizeTrial:
    """What came of one size: a row of the table of `BatchSizes`.

    Attributes:
        batch_size: The size.
        samples_per_second: The median speed of the steps, or None if there were none.
        memory: The peak of the memory in use, in bytes above what was in use before
            the search; None if it is not known.
        outcome: `"fits"`, `"out of memory"`, `"over the limit"`, or `"not tried"`, if
            the sizes before it let expect that it would be over the limit; its memory
            is what they let expect.
    """

    batch_size: int
    samples_per_second: float | None
    memory: int | None
    outcome: str


@dataclass(frozen=True)
class BatchSizes:
    """The result of `find_batch_size`; `print` shows it as a table.

    Attributes:
        trials: A `BatchSizeTrial` for each size, from the smallest up.
        largest: The largest size that fits, or None.
        fastest: The smallest size that reaches 95 % of the highest speed, or None.
    """

    trials: tuple[BatchSizeTrial, ...]

    @property
    def largest(self) -> int | None:
        """The largest size that fits."""
        return max((t.batch_size for t in self.trials if _speed(t)), default=None)

    @property
    def fastest(self) -> int | None:
        """The smallest size that is nearly as fast as the fastest."""
        most = max(map(_speed, self.trials), default=0.0)
        fast = [t.batch_size for t in self.trials if _speed(t) >= _NEARLY * most > 0]
        return min(fast, default=None)

    def plot(self) -> Figure:
        """Draws speed and memory over the sizes, with a cross where one did not fit.

        Returns:
            A figure of Matplotlib.
        """
        size = (7.0, 4.0)
        figure, panels = new_figure(2, extra="telemetry", size=size, sharex=True)
        above, below = panels
        speeds = [t.samples_per_second for t in self.trials]
        megabytes = [None if t.memory is None else t.memory / 1e6 for t in self.trials]
        self._draw(above, "samples/s", speeds, "fastest")
        self._draw(below, "memory (MB)", megabytes, "largest")
        sizes = [t.batch_size for t in self.trials]
        below.set_xscale("log", base=2)
        below.set_xticks(sizes, [str(size) for size in sizes])
        below.set_xlabel("batch size")
        return figure

    def _draw(
        self, axes: "Axes", label: str, values: Sequence[float | None], best: str
    ) -> None:
        known = [math.nan if value is None else value for value in values]
        axes.plot([t.batch_size for t in self.trials], known, "o-", color="0.6")
        for trial, value in zip(self.trials, known, strict=True):
            size = trial.batch_size
            if trial.outcome != "fits":
                axes.plot([size], [value], "kx", markersize=9)
            elif size == getattr(self, best):
                axes.plot([size], [value], "o", color="C1", label=f"{best}: {size}")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize="small")

    def _table(self) -> list[tuple[str, str, str, str]]:
        table = [("batch size", "samples/s", "memory (MB)", "outcome")]
        for t in self.trials:
            speed = f"{t.samples_per_second:.0f}" if t.samples_per_second else "-"
            memory = "-" if t.memory is None else f"{t.memory / 1e6:.1f}"
            table.append((str(t.batch_size), speed, memory, t.outcome))
        return table

    def __str__(self) -> str:
        lines = [f"{a:>10} {b:>11} {c:>14}   {d}" for a, b, c, d in self._table()]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self._table())


def _speed(trial: BatchSizeTrial) -> float:
    return (trial.samples_per_second or 0.0) if trial.outcome == "fits" else 0.0


def find_batch_size(
    model: keras.Model,
    x: Data,
    y: Data = None,
    *,
    sample_weight: Data = None,
    sizes: Sequence[int] | None = None,
    steps: int = 10,
    memory_limit: float | None = None,
    show_progress: bool = True,
) -> BatchSizes:
    """Tries batch sizes: which is the largest that fits, and which trains fastest?

    The training step of the model runs a few times with each size, from the smallest
    up, on batches drawn as `fit` draws them. Then all of the model is as it was before:
    weights, statistics of batch normalization, optimizer and its iterations, seeds of
    dropout, metrics. The sizes are of the whole batch, over all replicas.

    The search ends with the first size that does not fit. On a GPU that is the one
    whose step runs out of memory. On a CPU there is no such error, the system ends the
    process instead; so the search ends before `memory_limit`. What a size will need is
    foreseen from the two before it. The memory is measured: on a GPU, and on a CPU
    where TensorFlow uses oneDNN, as the peak of what TensorFlow has allocated; on Linux
    also as the peak of what the process has in memory, and the larger of the two
    counts. What earlier trainings have left to the process, unused, counts when a step
    uses it, so that a second search finds what the first did.

    The speed is that of this moment: let nothing else run, and compare only sizes of
    one search. Speed is not progress: fewer, larger updates may train worse.

    Args:
        model: A compiled model.
        x: The data as `fit` takes them: arrays, alone or in dictionaries, tuples and
            lists; a `tf.data.Dataset` of single samples, or `DynamicBatches`. Without
            `y` also `(x, y)` or `(x, y, sample_weight)`, a tuple.
        y: Targets, as `x`. None if `x` has them.
        sample_weight: Weights of the samples. None if `x` has them, or there are none.
        sizes: List of integers >= 1, the sizes to try; those larger than the data are
            left out. None means those of `DynamicBatches`, or else 8, 16, 32 and so on.
        steps: Integer >= 1, how many steps are timed for each size, of a large one not
            for more than two seconds. Defaults to `10`.
        memory_limit: Number > 0, in bytes: what the steps may need above what is in use
            when the search begins. None means four fifths of what the system has left
            and TensorFlow keeps unused on a CPU, and no limit on a GPU.
        show_progress: Whether to show how far it is, if it takes more than two seconds.
            Defaults to `True`.

    Returns:
        `BatchSizes`, with the attributes `largest`, `fastest`, and `trials`: for each
        size its `batch_size`, `samples_per_second`, `memory` in bytes and `outcome`;
        and the method `plot`.

    Raises:
        ValueError: If an argument is out of range, if the model is not compiled, or if
            there is a memory limit, but no telling how much is in use.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> x, y = np.ones((100, 8)), np.ones((100, 1))
        >>> found = kx.diagnostics.find_batch_size(model, x, y, steps=2)
        >>> found.largest
        64
        >>> [trial.batch_size for trial in found.trials]
        [8, 16, 32, 64]
        >>> int(model.optimizer.iterations)
        0
    """
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    require(model.compiled, "model.compiled", model.compiled, "True")
    steps = integer(steps, "steps", low=1)
    memory_limit = number(memory_limit, "memory_limit", above=0, optional=True)
    batches, sizes = _batches(model, (x, y, sample_weight), sizes)
    memory = PeakMemory()
    unknown = memory_limit is not None and memory.read() is None
    hint = "On a CPU, memory can only be measured on Linux or with oneDNN."
    require(not unknown, "memory_limit", memory_limit, "None here", hint)
    limit = memory_limit or memory.limit()
    trials: list[BatchSizeTrial] = []
    progress = Progress(flag(show_progress, "show_progress"), shorter=_SHORTER)
    replicas = model.distribute_strategy.num_replicas_in_sync
    with left_as_it_was(model, batches.of_one_size(replicas)):
        for i, size in enumerate(sizes):
            # Each traces a step, which takes longer than to run most of them.
            progress(i, len(sizes))
            expected = _expected_memory(trials, size)
            if expected is not None and expected > limit:
                trials.append(BatchSizeTrial(size, None, expected, "not tried"))
            else:
                trials.append(_try(model, batches, size, steps, memory, limit))
            if trials[-1].outcome != "fits":
                break
        progress(len(sizes), len(sizes))
    return BatchSizes(tuple(trials))


def _batches(
    model: keras.Model, given: tuple[Data, Data, Data], sizes: Sequence[int] | None
) -> tuple[DynamicBatches, list[int]]:
    strategy = model.distribute_strategy
    replicas = strategy.num_replicas_in_sync
    first = _SMALLEST if _SMALLEST % replicas == 0 else _SMALLEST * replicas
    x, y, weights = given
    alone = y is None and weights is None
    if isinstance(x, DynamicBatches):
        require(alone, "y, sample_weight", given[1:], "None, as `x` has them")
        data = x
    else:
        if alone:
            x, y, weights = keras.utils.unpack_x_y_sample_weight(x)
        with strategy.scope():
            data = DynamicBatches(
                x, y, weights, batch_size=first, seed=0, max_batch_size=_LARGEST
            )
    sizes = integers(sizes, "sizes", low=1, optional=True) or list(data.sizes)
    valid = all(s % replicas == 0 for s in sizes)
    require(valid, "sizes", sizes, f"divisible by the {replicas} replicas")
    fitting = [s for s in sorted(set(sizes)) if s <= data.num_samples]
    hint = f"There are {data.num_samples} samples in `x`."
    require(bool(fitting), "sizes", sizes, "no larger than the data", hint)
    return data, fitting


def _expected_memory(trials: list[BatchSizeTrial], size: int) -> int | None:
    """What the next size will need, if the need goes on rising in a straight line."""
    known = [(t.batch_size, t.memory) for t in trials if t.memory is not None]
    if len(known) < 2:
        return None
    (size_a, memory_a), (size_b, memory_b) = known[-2:]
    slope = max((memory_b - memory_a) / (size_b - size_a), 0.0)
    return round(memory_b + slope * (size - size_b))


def _try(
    model: keras.Model,
    batches: DynamicBatches,
    size: int,
    steps: int,
    memory: PeakMemory,
    limit: float,
) -> BatchSizeTrial:
    memory.reset()
    try:
        seconds = _time_steps(model, batches.of_one_size(size), steps, memory)
    except (tf.errors.OpError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        return BatchSizeTrial(size, None, None, "out of memory")
    used = memory.read()
    over = used is not None and used > limit
    return BatchSizeTrial(
        size, size / seconds, used, "over the limit" if over else "fits"
    )


def _time_steps(
    model: keras.Model, batches: DynamicBatches, steps: int, memory: PeakMemory
) -> float:
    """The median time of a step, in seconds."""
    dataset = batches.get_tf_dataset()
    if not isinstance(dataset, tf.distribute.DistributedDataset):
        dataset = model.distribute_strategy.experimental_distribute_dataset(dataset)
    iterator = iter(dataset)
    with memory.only_new():
        for _ in range(_WARM_UP):
            _time_step(model, iterator)
            memory.settle()
    times: list[float] = []
    while len(times) < steps and sum(times) <= _LONG_ENOUGH:
        times.append(_time_step(model, iterator))
    # Of each step alone: one that is interrupted does not count.
    return statistics.median(times) / model.steps_per_execution


def _time_step(model: keras.Model, iterator: Iterator[Data]) -> float:
    start = time.perf_counter()
    logs = model.train_function(iterator)
    keras.tree.map_structure(np.asarray, logs)  # waits until the step is done
    return time.perf_counter() - start


def _is_out_of_memory(error: Exception) -> bool:
    kinds = (tf.errors.ResourceExhaustedError, MemoryError)
    return isinstance(error, kinds) or "out of memory" in str(error).lower()
