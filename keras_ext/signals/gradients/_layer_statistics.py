"""What there is to know about the gradients of each layer."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._unit_axes import Axes, axes_by_identity
from keras_ext._core._checks import flag, integer
from keras_ext._core._paths import layer_path
from keras_ext._core._typing import Record, Tensor, Variable
from keras_ext._engine._gradient_signal import GradientSignal, Update
from keras_ext._engine._gradient_transform import Clipping
from keras_ext._keras._replica import squared_norms

# `update_ratio` comes last: it is known after the update, the others before it.
QUANTITIES = (
    "gradient_norm",
    "weight_norm",
    "clipped_fraction",
    "threshold",
    "dead_fraction",
    "cosine",
    "confusion",
    "nonfinite",
    "update_ratio",
)
_NONFINITE = QUANTITIES.index("nonfinite")
# Bins of the base 10 logarithm of the size of the elements of a gradient.
HISTOGRAM_EDGES = np.linspace(-12.0, 4.0, 33)
_NUM_BINS = len(HISTOGRAM_EDGES)  # and one in front for elements that are zero
# In front of the measurements: interval, update within it.
_NUM_STAMPS = 2


class LayerStatistics(GradientSignal):
    """Keeps a row of numbers for each layer, and for all of them, on the device.

    Weights whose paths differ only in the last part, such as a kernel and its bias,
    form a layer. The training is cut into intervals of `every` updates. At the last
    update of an interval, and at the very first update, these are measured:

    - `gradient_norm`: norm of the gradient that all replicas agreed on, before the
      transforms.
    - `weight_norm`: norm of the weights before the update.
    - `update_ratio`: norm of the update divided by that of the weights.
    - `clipped_fraction`: fraction of groups (units, weights or layers) clipped by the
      `ClipByGroupNorm` transforms of the pipeline. NaN if there are none.
    - `threshold`: the largest norm that these limits allow the layer, the root of the
      sum of their squares. A limit on the global norm has no part for a layer, and is
      NaN there.

    And these over all updates since the last row:

    - `dead_fraction`: share of the output units whose gradient was exactly zero in all
      of them. Looked at is the bias of the unit, or its kernel if it has none. NaN for
      an embedding, where a word that does not occur has no gradient.
    - `cosine`: mean cosine between the gradients of two successive updates. Compared
      are updates 1 and 2 of the interval, and `pairs` such pairs in all, evenly spaced.
      The weights move between the two, and so do the batches.
    - `confusion`: the smallest of these cosines.

    And since the beginning:

    - `nonfinite`: in how many updates the gradient was NaN or infinite. They were left
      out, and are not counted as updates.

    Between the rows nearly nothing is computed; the units are looked at until each
    has had a gradient. Keeps one float32 copy of the weights on the device.

    Args:
        every: Integer >= 1, the updates in an interval. Defaults to `50`.
        pairs: Integer >= 0, how many pairs of gradients to compare in an interval.
            Defaults to `5`.
        histograms: Whether to count the elements of the gradient of each layer by
            their size, in 32 bins of half a decade from 1e-12 to 1e4. Defaults to
            `False`.
        rows: Integer >= 1, how many rows to keep on the device. Defaults to `1`.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> statistics = kx.signals.LayerStatistics(every=1)
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(0.5), signals=[statistics]
        ... )
        >>> kernel = keras.Variable([[3.0, 0.0], [0.0, 4.0]], name="kernel")
        >>> optimizer.apply([keras.ops.array([[2.0, 0.0], [0.0, 0.0]])], [kernel])
        >>> row = statistics.read()["global"]
        >>> row["gradient_norm"], row["update_ratio"], row["dead_fraction"]
        (2.0, 0.2, 0.5)

    References:
        - [Sankararaman et al., 2020](https://arxiv.org/abs/1904.06963) (confusion,
          there between the gradients of two batches at the same weights)
    """

    def __init__(
        self,
        every: int = 50,
        *,
        pairs: int = 5,
        histograms: bool = False,
        rows: int = 1,
    ) -> None:
        super().__init__()
        self.histograms = flag(histograms, "histograms")
        self.every = integer(every, "every", low=1)
        self.pairs = integer(pairs, "pairs", low=0)
        self.rows = integer(rows, "rows", low=1)
        self.layers: list[str] = []
        # The layer of each output unit that is looked at.
        self._unit_layers: list[int] = []

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        # Those that are overwritten with their gradient have none.
        self._variables = [
            v for v in variables if not getattr(v, "overwrite_with_gradient", False)
        ]
        self._axes = axes_by_identity(variables, unit_axes)
        self.layers = list(dict.fromkeys(layer_path(v.path) for v in self._variables))
        kernels = [v for v in self._variables if len(v.shape) > 1] or self._variables
        self._ends = self._layer_indices([*kernels[:1], *kernels[-1:]])
        self._build_units()
        columns = len(self.layers) + 1
        width = _NUM_STAMPS + len(QUANTITIES) * columns
        if self.histograms:
            width += len(self.layers) * _NUM_BINS
        # A copy of a gradient or of the weights, in turn.
        self._copies = {
            id(v): self.add_state(v.shape, f"{v.name}_copy") for v in self._variables
        }
        self._holds_gradient = self.add_state((), "holds_gradient")
        self._alive = self.add_state((len(self._unit_layers),), "alive")
        self._num_alive = self.add_state((), "num_alive")
        # Sums of cosines, their numbers, and the largest of 1 - cosine.
        self._cosines = self.add_state((3, columns), "cosines")
        # What is known of a row before the update.
        self._begun = self.add_state((width - columns,), "begun")
        # In front of the rows, one with how many there were, and with the counts of
        # non-finite gradients up to now.
        self._table = self.add_state((1 + self.rows, width), "table")

    def _build_units(self) -> None:
        """Decides which output units there are, and which weights tell of them."""
        candidates = [v for v in self._variables if not v.name.endswith("embeddings")]
        with_units = {layer_path(v.path) for v in candidates if self._num_units(v) > 1}
        biases = {
            (layer_path(v.path), math.prod(v.shape)): v
            for v in candidates
            if v.name.endswith("bias")
        }
        # The bias of a unit has no gradient when its kernel has none, and is small.
        tellers = [
            biases.get((layer_path(v.path), self._num_units(v)), v)
            for v in candidates
            if self._num_units(v) > 1 or layer_path(v.path) not in with_units
        ]
        self._tellers = list({id(v): v for v in tellers}.values())
        self._unit_layers = [
            layer
            for v, layer in zip(
                self._tellers, self._layer_indices(self._tellers), strict=True
            )
            for _ in range(self._num_told(v))
        ]

    def _num_told(self, variable: Variable) -> int:
        """How many units a weight tells of."""
        if variable.name.endswith("bias"):
            return math.prod(variable.shape)
        return self._num_units(variable)

    def _num_units(self, variable: Variable) -> int:
        axes = self._axes[id(variable)]
        return math.prod(n for i, n in enumerate(variable.shape) if i not in axes)

    def _layer_indices(self, variables: Sequence[Variable]) -> list[int]:
        return [self.layers.index(layer_path(v.path)) for v in variables]

    # The step. A conditional costs a little even when nothing is to be done, so there
    # is one before the update, and one after it, and the others are inside.

    def before_update(self, update: Update) -> None:
        wakes = self._num_alive.value < len(self._unit_layers)
        compares = self._holds_gradient.value > 0
        ends = self._is_due(update)

        def measure() -> None:
            _when(wakes, lambda: self._notice_alive(update))
            if self.pairs:
                _when(compares, lambda: self._compare(update))
            _when(ends, lambda: self._begin_row(update))

        _when(wakes | compares | ends, measure)

    def after_update(self, update: Update) -> None:
        ends = self._is_due(update)
        if not self.pairs:
            _when(ends, self._end_row)
            return
        stride = max(1, self.every // self.pairs)
        is_kept = ops.equal(ops.mod(update.iteration, stride), 0)

        def finish() -> None:
            _when(ends, self._end_row)
            _when(is_kept, lambda: self._keep(update))

        _when(ends | is_kept, finish)

    def after_skip(self, squared_norms: Tensor, variables: Sequence[Variable]) -> None:
        sums = self._sums(squared_norms, variables)
        bad = ops.cast(ops.logical_not(ops.isfinite(sums)), "float32")
        start = _NUM_STAMPS + _NONFINITE * bad.shape[0]
        self._table.assign(self._table.value + self._in_front(bad, start))

    def _in_front(self, numbers: Tensor, start: int) -> Tensor:
        """A table with these numbers in the first row, and zeros."""
        rows, width = self._table.shape
        padding = [[0, rows - 1], [start, width - start - numbers.shape[0]]]
        return tf.pad(numbers[None], padding)

    def _is_due(self, update: Update) -> Tensor:
        phase = ops.mod(update.iteration, self.every)
        is_first = ops.equal(self._table.value[0, 0], 0.0)
        return ops.logical_or(ops.equal(phase, self.every - 1), is_first)

    def _sums(self, numbers: Tensor, variables: Sequence[Variable]) -> Tensor:
        """Sums a number per weight over each layer, and in the end over all."""
        return self._layer_sums(numbers, self._layer_indices(variables))

    def _layer_sums(self, numbers: Tensor, layers: Sequence[int]) -> Tensor:
        indices = tf.constant(layers, "int32")  # of which there may be none
        sums = tf.math.unsorted_segment_sum(numbers, indices, len(self.layers))
        return ops.append(sums, ops.sum(numbers))

    def _notice_alive(self, update: Update) -> None:
        gradient_of = {
            id(v): g for g, v in zip(update.gradients, update.variables, strict=True)
        }
        # Nothing but embeddings tells of no units.
        sizes = [ops.zeros((0,))]
        for variable in self._tellers:
            if id(variable) not in gradient_of:
                sizes.append(ops.zeros((self._num_told(variable),), "float32"))
                continue
            size = ops.cast(gradient_of[id(variable)], "float32")
            if not variable.name.endswith("bias"):
                size = ops.max(ops.abs(size), axis=self._axes[id(variable)])
            sizes.append(ops.reshape(size, (-1,)))
        noticed = ops.cast(ops.not_equal(ops.concatenate(sizes), 0.0), "float32")
        alive = ops.maximum(self._alive.value, noticed)
        self._alive.assign(alive)
        self._num_alive.assign(ops.sum(alive))

    def _keep(self, update: Update) -> None:
        for gradient, variable in zip(update.gradients, update.variables, strict=True):
            self._copies[id(variable)].assign(ops.cast(gradient, "float32"))
        self._holds_gradient.assign(ops.ones((), "float32"))

    def _compare(self, update: Update) -> None:
        """Takes in the cosine between the gradient and the one that was kept."""
        kept = [self._copies[id(v)].value for v in update.variables]
        products = ops.stack(
            [
                ops.sum(ops.cast(g, "float32") * k)
                for g, k in zip(update.gradients, kept, strict=True)
            ]
        )
        sums = [
            self._sums(row, update.variables)
            for row in (products, update.squared_norms, squared_norms(kept))
        ]
        # Root by root, since the product of two squares may overflow.
        lengths = ops.sqrt(sums[1]) * ops.sqrt(sums[2])
        exists = lengths > 0
        cosines = ops.clip(sums[0] / ops.where(exists, lengths, 1.0), -1.0, 1.0)
        totals, counts, farthest = ops.unstack(self._cosines.value)
        self._cosines.assign(
            ops.stack(
                [
                    totals + ops.where(exists, cosines, 0.0),
                    counts + ops.cast(exists, "float32"),
                    ops.maximum(farthest, ops.where(exists, 1.0 - cosines, 0.0)),
                ]
            )
        )
        self._holds_gradient.assign(ops.zeros((), "float32"))

    def _begin_row(self, update: Update) -> None:
        """Measures all but the update, and begins a new interval."""
        weights = [ops.cast(v.value, "float32") for v in self._variables]
        for variable, weight in zip(self._variables, weights, strict=True):
            self._copies[id(variable)].assign(weight)
        self._holds_gradient.assign(ops.zeros((), "float32"))
        columns = len(self.layers) + 1
        start = _NUM_STAMPS + _NONFINITE * columns
        stamps = [update.iteration // self.every, ops.mod(update.iteration, self.every)]
        parts = [
            ops.cast(ops.stack(stamps), "float32"),
            ops.sqrt(self._sums(update.squared_norms, update.variables)),
            ops.sqrt(self._sums(squared_norms(weights), self._variables)),
            *self._clipping(update),
            # Their number; `read_rows` makes a share of it, which the device does not
            # do to the last digit.
            self._layer_sums(1.0 - self._alive.value, self._unit_layers),
            *self._mean_and_least_cosines(),
            self._table.value[0, start : start + columns],
        ]
        if self.histograms:
            parts.append(self._histograms(update))
        self._begun.assign(ops.concatenate(parts))
        self._alive.assign(ops.zeros_like(self._alive.value))
        self._num_alive.assign(ops.zeros((), "float32"))
        self._cosines.assign(ops.zeros_like(self._cosines.value))

    def _end_row(self) -> None:
        moves = [
            ops.cast(v.value, "float32") - self._copies[id(v)].value
            for v in self._variables
        ]
        moved = ops.sqrt(self._sums(squared_norms(moves), self._variables))
        columns = len(self.layers) + 1
        begun = self._begun.value
        start = _NUM_STAMPS + QUANTITIES.index("weight_norm") * columns
        sizes = begun[start : start + columns]
        ratios = ops.where(sizes > 0, moved / ops.maximum(sizes, 1e-30), 0.0)
        end = _NUM_STAMPS + (len(QUANTITIES) - 1) * columns
        row = ops.concatenate([begun[:end], ratios, begun[end:]])
        table = self._table.value
        place = 1 + ops.mod(ops.cast(table[0, 0], "int32"), self.rows)
        is_place = ops.equal(ops.arange(1 + self.rows), place)[:, None]
        one_more = self._in_front(ops.ones((1,), "float32"), 0)
        self._table.assign(ops.where(is_place, row, table) + one_more)

    def _mean_and_least_cosines(self) -> tuple[Tensor, Tensor]:
        totals, counts, farthest = ops.unstack(self._cosines.value)
        exists = counts > 0
        means = ops.where(exists, totals / ops.maximum(counts, 1.0), math.nan)
        return means, ops.where(exists, 1.0 - farthest, math.nan)

    def _clipping(self, update: Update) -> tuple[Tensor, Tensor]:
        """Clipped fractions and thresholds, those of the rule that does the most."""
        columns = len(self.layers) + 1
        clipped = ops.full((columns,), math.nan, "float32")
        thresholds = ops.full((columns,), math.nan, "float32")
        for clipping in update.clippings.values():
            exceeds = ops.cast(ops.greater(clipping.norms, clipping.limits), "float32")
            squares = ops.square(clipping.limits)
            if clipping.per == "global":
                fractions = ops.full((columns,), 1.0, "float32") * exceeds
                limits = ops.append(
                    ops.full((columns - 1,), math.nan, "float32"), squares
                )
            else:
                layers = [self.layers.index(name) for name in _layers_of(clipping)]
                counts = np.bincount(layers, minlength=columns).astype("float32")
                counts[-1] = len(layers)
                # Where the rule has nothing to say, it says NaN.
                counts[counts == 0] = np.nan
                fractions = self._layer_sums(exceeds, layers) / counts
                limits = self._layer_sums(squares, layers) * (counts / counts)
            clipped = _combined(ops.maximum, clipped, fractions)
            thresholds = _combined(ops.minimum, thresholds, ops.sqrt(limits))
        return clipped, thresholds

    def _histograms(self, update: Update) -> Tensor:
        low, high = HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]
        width = HISTOGRAM_EDGES[1] - low
        counts = []
        for gradient in update.gradients:
            sizes = ops.reshape(ops.abs(ops.cast(gradient, "float32")), (-1,))
            logs = ops.log10(ops.where(sizes > 0, sizes, 1.0))
            bins = ops.floor((ops.clip(logs, low, high) - low) / width)
            bins = 1 + ops.cast(ops.minimum(bins, _NUM_BINS - 2.0), "int32")
            bins = ops.where(sizes > 0, bins, 0)
            # As integers: float32 stops counting at 2**24.
            ones = ops.ones_like(bins)
            counts.append(tf.math.unsorted_segment_sum(ones, bins, _NUM_BINS))
        layers = self._layer_indices(update.variables)
        sums = tf.math.unsorted_segment_sum(ops.stack(counts), layers, len(self.layers))
        return ops.reshape(ops.cast(sums, "float32"), (-1,))

    # The host.

    def read(self) -> Record:
        """Fetches the last row.

        Returns:
            A dictionary with `"global"`, from quantity to number, also
            `"vanishing_ratio"`, the gradient norm of the first layer with a kernel
            divided by that of the last one; `"per_layer"`, from the path of a layer to
            such a dictionary; `"update"`, how many updates there were when it was
            measured; and `"samples"`, the number of rows so far. Before the first one
            the values are NaN.
        """
        rows = self.read_rows()
        known = len(rows["update"]) > 0

        def last(values: np.ndarray) -> float:
            # The shortest decimals that are this float32.
            return float(str(values[-1])) if known else math.nan

        return {
            "global": {q: last(values) for q, values in rows["global"].items()},
            "per_layer": {
                layer: {q: last(v[:, i]) for q, v in rows["per_layer"].items()}
                for i, layer in enumerate(self.layers)
            },
            "update": int(rows["update"][-1]) if known else 0,
            "samples": rows["samples"],
        }

    def read_rows(self, seen: int = 0) -> Record:
        """Fetches the rows that are on the device, in one transfer.

        Args:
            seen: How many rows are known already, and left out. Defaults to `0`.

        Returns:
            A dictionary with `"update"`, an array; `"global"`, from quantity to an
            array of a number per row; `"per_layer"`, from quantity to an array of shape
            `(rows, layers)`; `"histograms"`, of shape `(rows, layers, 33)`, zeros
            first; `"nonfinite"`, the present counts of the layers and in all; and
            `"samples"`, the number of rows so far.
        """
        columns = len(self.layers) + 1
        end = _NUM_STAMPS + len(QUANTITIES) * columns
        table: np.ndarray = np.zeros((1, end), "float32")
        if self.state:
            table = ops.convert_to_numpy(self._table)
        samples = int(table[0, 0])
        kept = range(max(seen, samples - self.rows), samples)
        rows = table[[1 + i % self.rows for i in kept]]
        stamps: np.ndarray = rows[:, :_NUM_STAMPS].astype("int64")
        values = rows[:, _NUM_STAMPS:end].reshape(-1, len(QUANTITIES), columns)
        num_units = np.bincount(self._unit_layers, minlength=columns).astype("float32")
        num_units[-1] = len(self._unit_layers)
        num_units[num_units == 0] = np.nan
        values[:, QUANTITIES.index("dead_fraction")] /= num_units
        per_layer = {q: values[:, i, :-1] for i, q in enumerate(QUANTITIES)}
        start = _NUM_STAMPS + _NONFINITE * columns
        return {
            "update": 1 + stamps[:, 0] * self.every + stamps[:, 1],
            "global": {
                **{q: values[:, i, -1] for i, q in enumerate(QUANTITIES)},
                "vanishing_ratio": self._vanishing_ratios(per_layer["gradient_norm"]),
            },
            "per_layer": per_layer,
            "histograms": rows[:, end:].reshape(
                len(rows), len(self.layers) if self.histograms else 0, _NUM_BINS
            ),
            "nonfinite": table[0, start : start + columns],
            "samples": samples,
        }

    def _vanishing_ratios(self, norms: np.ndarray) -> np.ndarray:
        if not self.state or self._ends[0] == self._ends[1]:
            return np.full(len(norms), np.nan)
        first, last = (norms[:, i] for i in self._ends)
        return np.divide(first, last, np.full(len(norms), np.nan), where=last > 0)


def _when(condition: Tensor, action: Callable[[], None]) -> None:
    tf.cond(condition, action, lambda: None)


def _layers_of(clipping: Clipping) -> list[str]:
    """The layer of each group that a rule has."""
    names = list(clipping.names)
    return names if clipping.per == "layer" else [layer_path(name) for name in names]


def _combined(rule: Callable[..., Tensor], a: Tensor, b: Tensor) -> Tensor:
    """What the rule makes of two rows; where one of them is NaN, the other."""
    return ops.where(ops.isnan(a), b, ops.where(ops.isnan(b), a, rule(a, b)))
