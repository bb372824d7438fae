"""Finds the learning rates with which training works."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._linked_method import link_method
from keras_ext._core._checks import flag, integer, number, require
from keras_ext._core._figures import new_figure
from keras_ext._core._progress import Progress
from keras_ext._core._tables import html_table
from keras_ext._core._typing import Data, Figure
from keras_ext._keras._learning_rate import READ
from keras_ext._keras._optimizer_family import stepping_optimizer
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext.data import DynamicBatches
from keras_ext.diagnostics._learning_rate_rules import RULES, has_diverged, smoothed
from keras_ext.diagnostics._left_as_it_was import left_as_it_was

# What the rules do not look at: losses at the beginning, and those that led to the end.
_SKIPPED_SHARE, _SKIPPED_LAST = 10, 5
_FEWEST = 6
_HINT = "Give another range, with low and high, or more steps."


@dataclass(frozen=True)
class LearningRates:
    """The result of `find_learning_rate`; `print` shows what it suggests.

    Attributes:
        rates: The learning rates that were tried, rising.
        losses: The loss of the batch that was trained on with each.
        smoothed: The same, averaged.
        skipped: How many of the first ones the suggestions leave out.
        suggestions: Dictionary from rule to learning rate, see `find_learning_rate`.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    skipped: int

    @property
    def suggestions(self) -> dict[str, float]:
        """The learning rate that each rule suggests."""
        part = slice(self.skipped, -_SKIPPED_LAST)
        rates, losses = np.array(self.rates)[part], np.array(self.smoothed)[part]
        return {name: rule(rates, losses) for name, rule in RULES.items()}

    @property
    def suggestion(self) -> float:
        """That of the rule `"valley"`."""
        return self.suggestions["valley"]

    def plot(self) -> Figure:
        """Draws the losses over the rates, and what is suggested.

        Returns:
            A figure of Matplotlib.
        """
        figure, axes = new_figure(extra="telemetry", size=(7, 4))
        axes.plot(self.rates, self.losses, color="0.8", label="loss of a batch")
        axes.plot(self.rates, self.smoothed, color="0.2", label="smoothed")
        places = np.log(self.rates)
        for i, (name, rate) in enumerate(self.suggestions.items()):
            height = np.interp(math.log(rate), places, self.smoothed)
            label = f"{name}: {rate:.2g}"
            axes.plot([rate], [height], "o", color=f"C{i}", label=label)
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        low, high = min(self.smoothed), max(self.smoothed[: self.skipped + 1])
        margin = 0.5 * max(high - low, 1e-9)
        axes.set_ylim(low - margin, high + margin)
        axes.legend(fontsize="small")
        return figure

    def __str__(self) -> str:
        lines = [f"{name:>9}  {rate:.2e}" for name, rate in self.suggestions.items()]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [(name, f"{rate:.2e}") for name, rate in self.suggestions.items()]
        return html_table([("rule", "learning rate"), *rows])


def find_learning_rate(  # noqa: PLR0913
    model: keras.Model,
    x: Data,
    y: Data = None,
    *,
    sample_weight: Data = None,
    batch_size: int = 32,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.98,
    show_progress: bool = True,
) -> LearningRates:
    """Trains with a rising learning rate: where does the loss fall, and where explode?

    The training step of the model runs with rates that rise from `low` to `high`, each
    by the same factor above the one before, until the smoothed loss is four times its
    best (the range test). Then all of the model is as it was before: weights,
    statistics of batch normalization, optimizer and its iterations, seeds of dropout,
    metrics. The rate of the optimizer, a number or a schedule, is not used and stays.

    Four rules suggest a rate, as in fastai. Look at the picture before you trust one:
    `print(found)`, `found.plot()`.

    - `"valley"`: half of the way down the longest fall of the loss. A good first choice
      for a constant rate.
    - `"steepest"`: where the loss falls most per factor of the rate; lower, and more
      dependent on noise.
    - `"minimum"`: a tenth of the rate with the lowest loss. Often the right size for
      the maximum of `OneCycle`.
    - `"slide"`: where, coming from the right, the loss stops to change its slope.

    A rate that is right for the first steps may be too large later, or too small: it is
    a starting point.

    Args:
        model: A compiled model.
        x: The data as `fit` takes them: arrays, alone or in dictionaries, tuples and
            lists, which are shuffled; a `tf.data.Dataset` of batches, or
            `DynamicBatches`. Without `y` also `(x, y)` or `(x, y, sample_weight)`.
        y: Targets, as `x`. None if `x` has them.
        sample_weight: Weights of the samples. None if `x` has them, or there are none.
        batch_size: Integer >= 1, as in `fit`: the right rate depends on it. A dataset
            and `DynamicBatches` have their own. Defaults to `32`.
        low: Number > 0, the first rate. Defaults to `1e-07`.
        high: Number > 0, the last rate, above `low`. Defaults to `10.0`.
        steps: Integer >= 20, how many rates there are. With `steps_per_execution`, so
            many steps are made with each. Defaults to `100`.
        smoothing: Number in [0, 1), the weight of the past in the smoothed loss.
            Defaults to `0.98`.
        show_progress: Whether to show how far it is, if it takes more than two seconds.
            Defaults to `True`.

    Returns:
        `LearningRates`, with the attributes `rates`, `losses`, `smoothed`,
        `suggestions`, a dictionary from rule to rate, and `suggestion`, that of
        `"valley"`; and the method `plot`.

    Raises:
        ValueError: If an argument is out of range, if the model is not compiled, or if
            the loss has burst before the rules could say anything.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x = np.random.default_rng(0).normal(size=(100, 8))
        >>> found = kx.diagnostics.find_learning_rate(model, x, x[:, :1])
        >>> 1e-4 < found.suggestion < 1
        True
        >>> sorted(found.suggestions)
        ['minimum', 'slide', 'steepest', 'valley']
        >>> int(model.optimizer.iterations)
        0

    References:
        - [Smith, 2015](https://arxiv.org/abs/1506.01186): the test
        - [Howard and Gugger, 2020](https://arxiv.org/abs/2002.04688): fastai
    """
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    require(model.compiled, "model.compiled", model.compiled, "True")
    low = number(low, "low", above=0)
    high = number(high, "high", above=0)
    require(low < high, "high", high, f"above low={low}")
    steps = integer(steps, "steps", low=20)
    smoothing = number(smoothing, "smoothing", low=0, below=1)
    batch_size = integer(batch_size, "batch_size", low=1)
    optimizer = getattr(model, "optimizer", None)
    valid = isinstance(optimizer, keras.optimizers.Optimizer)
    require(valid, "model.optimizer", optimizer, "a Keras optimizer")
    data = _endless(model, (x, y, sample_weight), batch_size)
    rates = np.geomspace(float(low), float(high), steps)
    progress = Progress(
        flag(show_progress, "show_progress"), shorter="Fewer `steps` make it shorter."
    )
    with left_as_it_was(model, data):
        losses = _train(model, data, rates, smoothing, progress)
    skipped = steps // _SKIPPED_SHARE
    enough = len(losses) >= skipped + _FEWEST + _SKIPPED_LAST
    rule = f"rates with which training goes on; the loss burst after {len(losses)} "
    require(enough, "low", low, f"{rule}of {steps} steps", _HINT)
    means = smoothed(losses, smoothing).tolist()
    tried = rates[: len(losses)].tolist()
    return LearningRates(tuple(tried), tuple(losses), tuple(means), skipped)


def _endless(
    model: keras.Model, given: tuple[Data, Data, Data], batch_size: int
) -> tf.data.Dataset:
    """Batches without end, for all replicas together."""
    x, y, weights = given
    if isinstance(x, DynamicBatches):
        alone = y is None and weights is None
        require(alone, "y, sample_weight", given[1:], "None, as `x` has them")
        return _batches(model, x, x.batch_size)
    if y is None and weights is None and not isinstance(x, tf.data.Dataset):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(x)
    if isinstance(x, tf.data.Dataset):
        rule = "None with a dataset, which has them"
        require(y is None and weights is None, "y, sample_weight", (y, weights), rule)
        return x.repeat()
    batches = DynamicBatches(x, y, weights, batch_size=1, seed=0)
    return _batches(model, batches, batch_size)


def _batches(
    model: keras.Model, batches: DynamicBatches, batch_size: int
) -> tf.data.Dataset:
    """Batches of one size, as far as data and replicas allow."""
    replicas = model.distribute_strategy.num_replicas_in_sync
    size = min(batch_size, batches.num_samples)
    size = max(size - size % replicas, replicas)
    return batches.of_one_size(size, shuffle=True).get_tf_dataset()


def _train(
    model: keras.Model,
    data: tf.data.Dataset,
    rates: np.ndarray,
    smoothing: float,
    progress: Progress,
) -> list[float]:
    """The losses of the batches, one for each rate, to where training has burst."""
    strategy = model.distribute_strategy
    if not isinstance(data, tf.distribute.DistributedDataset):
        data = strategy.experimental_distribute_dataset(data)
    rate = HyperVariable(float(rates[0]), "learning_rate")
    with strategy.scope():
        rate.build()
    optimizer = stepping_optimizer(model.optimizer)
    undo = link_method(optimizer, READ, lambda _: lambda: rate.value)
    try:
        # It has to be traced with that in place, and then without.
        model.train_function = None
        model.make_train_function()
        return _rising(model, iter(data), rate, rates, smoothing, progress)
    finally:
        undo()


def _rising(
    model: keras.Model,
    iterator: Iterator[Data],
    rate: HyperVariable,
    rates: np.ndarray,
    smoothing: float,
    progress: Progress,
) -> list[float]:
    losses: list[float] = []
    best = math.inf
    for i, value in enumerate(rates):
        if i > 1:
            progress(i, len(rates))
        rate.assign(float(value))
        # What the step tells is the mean since this.
        model.reset_metrics()
        logs = model.train_function(iterator)
        has_loss = isinstance(logs, dict) and "loss" in logs
        told = sorted(logs) if isinstance(logs, dict) else type(logs).__name__
        require(has_loss, "model.train_step", told, 'one that tells the "loss"')
        loss = float(np.mean(keras.ops.convert_to_numpy(logs["loss"])))
        if not math.isfinite(loss):
            break
        losses.append(loss)
        if i == 0:  # it was traced
            progress.begin(1, len(rates))
        # The first few losses are hardly smoothed: one easy batch would end it.
        if len(losses) > len(rates) // _SKIPPED_SHARE:
            mean = float(smoothed(losses, smoothing)[-1])
            best = min(best, mean)
            if has_diverged(mean, best):
                break
    progress(len(rates), len(rates))
    return losses
