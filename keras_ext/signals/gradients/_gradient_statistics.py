"""Norms of gradients and weights, update ratios and clipped fractions."""

import math
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._unit_axes import Axes, axes_by_identity
from keras_ext._core._checks import integer, number, require
from keras_ext._core._typing import Record, Tensor, Variable
from keras_ext._engine._gradient_signal import GradientSignal, Update
from keras_ext._keras._replica import squared_norms

QUANTITIES = ("gradient_norm", "weight_norm", "update_ratio", "clipped_fraction")


class GradientStatistics(GradientSignal):
    """Keeps norms of gradients and weights on the device, per weight and in total.

    - `gradient_norm`: norm of the gradient that all replicas agreed on, before the
      transforms.
    - `weight_norm`: norm of the weights before the update.
    - `update_ratio`: norm of the update divided by the norm of the weights. About
      1e-3 is usual; much more is a learning rate that is too high, much less too low.
    - `clipped_fraction`: share of the units whose gradient a transform changed.

    Give it to `GradientPipeline(signals=[...])`. Every `every`-th update is measured
    and smoothed by an exponential average; nothing reaches the host before `read()`
    asks for it. A weight without a gradient counts as 0. `update_ratio` keeps a copy of
    the weights; leave it out where memory is short.

    Args:
        quantities: Which of these to measure. Defaults to
            `("gradient_norm", "weight_norm", "update_ratio", "clipped_fraction")`.
        every: Integer >= 1; the interval of updates to measure. Defaults to `1`.
        smoothing: Number in [0, 1), the weight of the past in the average over
            measured updates. 0 keeps the last value. Defaults to `0.9`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> statistics = kx.signals.GradientStatistics()
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(0.5), signals=[statistics]
        ... )
        >>> weight = keras.Variable([3.0, 4.0], name="weight")
        >>> optimizer.apply([keras.ops.array([0.0, 1.0])], [weight])
        >>> for name, value in statistics.read()["global"].items():
        ...     print(name, round(value, 4))
        gradient_norm 1.0
        weight_norm 5.0
        update_ratio 0.1
        clipped_fraction 0.0
    """

    def __init__(
        self,
        quantities: Sequence[str] = QUANTITIES,
        *,
        every: int = 1,
        smoothing: float = 0.9,
    ) -> None:
        super().__init__()
        valid = isinstance(quantities, list | tuple)
        valid = valid and all(quantity in QUANTITIES for quantity in quantities)
        require(valid, "quantities", quantities, f"a list of some of {QUANTITIES}")
        self.quantities = tuple(quantities)
        self.every = integer(every, "every", low=1)
        self.smoothing = number(smoothing, "smoothing", low=0, below=1)

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        self._axes = axes_by_identity(variables, unit_axes)
        self._paths = [v.path for v in variables]
        self._index = {id(v): i for i, v in enumerate(variables)}
        # One column a weight, and a last one for all of them together.
        shape = (len(self.quantities), len(variables) + 1)
        self._smoothed = self.add_state(shape, "smoothed")
        self._last = self.add_state(shape, "last")
        self._samples = self.add_state((), "samples")
        keeps_weights = "update_ratio" in self.quantities
        self._before = [
            self.add_state(v.shape, f"{v.name}_before")
            for v in (variables if keeps_weights else ())
        ]

    @property
    def takes_sparse(self) -> bool:
        return "clipped_fraction" not in self.quantities

    def before_update(self, update: Update) -> None:
        self._due = ops.equal(ops.mod(update.iteration, self.every), 0)
        if self._before:
            self._when_due(lambda: self._remember(update.variables))
        else:
            self._when_due(lambda: self._record(update))

    def after_update(self, update: Update) -> None:
        if self._before:
            self._when_due(lambda: self._record(update))

    def _when_due(self, action: Callable[[], None]) -> None:
        if self.every == 1:
            action()
        else:
            tf.cond(self._due, action, lambda: None)

    def _remember(self, variables: Sequence[Variable]) -> None:
        for variable in variables:
            self._before[self._index[id(variable)]].assign(variable.value)

    def _record(self, update: Update) -> None:
        columns = [self._index[id(v)] for v in update.variables]
        values = ops.stack(
            [
                _with_gaps(
                    getattr(self, f"_{name}s")(update), columns, len(self._paths)
                )
                for name in self.quantities
            ]
        )
        self._samples.assign(self._samples + 1.0)
        self._last.assign(values)
        self._smoothed.assign(
            self.smoothing * self._smoothed + (1.0 - self.smoothing) * values
        )

    # Each gives the values of the weights, a vector, and that of all together.

    def _gradient_norms(self, update: Update) -> tuple[Tensor, Tensor]:
        return _norms(update.squared_norms)

    def _weight_norms(self, update: Update) -> tuple[Tensor, Tensor]:
        return _norms(squared_norms(self._weights(update)))

    def _weights(self, update: Update) -> list[Tensor]:
        """The weights before the update."""
        if self._before:
            return [self._before[self._index[id(v)]].value for v in update.variables]
        return [v.value for v in update.variables]

    def _update_ratios(self, update: Update) -> tuple[Tensor, Tensor]:
        before = self._weights(update)
        moves = [
            ops.cast(v.value, "float32") - w
            for v, w in zip(update.variables, before, strict=True)
        ]
        moved, moved_in_all = _norms(squared_norms(moves))
        norms, norm = _norms(squared_norms(before))
        return _ratio(moved, norms), _ratio(moved_in_all, norm)

    def _clipped_fractions(self, update: Update) -> tuple[Tensor, Tensor]:
        fractions, units = [], []
        for raw, new, variable in zip(
            update.gradients, update.transformed, update.variables, strict=True
        ):
            if raw is new:
                changed = ops.zeros((1,), "float32")
            else:
                axes = self._axes[id(variable)]
                changed = ops.any(ops.not_equal(raw, new), axis=axes)
                changed = ops.reshape(ops.cast(changed, "float32"), (-1,))
            fractions.append(ops.mean(changed))
            units.append(float(self._num_units(variable)))
        fractions = ops.stack(fractions)
        return fractions, ops.sum(fractions * ops.array(units, "float32")) / sum(units)

    def _num_units(self, variable: Variable) -> int:
        axes = self._axes[id(variable)]
        return math.prod(n for i, n in enumerate(variable.shape) if i not in axes)

    def read(self) -> Record:
        """Fetches the smoothed values.

        Returns:
            A dictionary with `"global"`, from quantity to number; `"per_weight"`,
            from the path of a weight to such a dictionary; `"last"`, the global values
            of the last measured update, not smoothed; and `"samples"`, the number of
            updates that were measured. Before the first one the values are NaN.
        """
        if not self.state:
            nothing = self._named(np.full(len(self.quantities), np.nan))
            return {"global": nothing, "per_weight": {}, "last": nothing, "samples": 0}
        smoothed, last, samples = (
            keras.ops.convert_to_numpy(v)
            for v in (self._smoothed, self._last, self._samples)
        )
        if samples == 0:
            smoothed, last = np.full_like(smoothed, np.nan), np.full_like(last, np.nan)
        else:
            # The average starts at zero; this takes out the part of the start.
            smoothed = smoothed / (1.0 - self.smoothing ** float(samples))
        return {
            "global": self._named(smoothed[:, -1]),
            "per_weight": {
                path: self._named(smoothed[:, i]) for i, path in enumerate(self._paths)
            },
            "last": self._named(last[:, -1]),
            "samples": int(samples),
        }

    def _named(self, values: np.ndarray) -> Record:
        # The shortest decimals that are these float32.
        return {
            name: float(str(value))
            for name, value in zip(self.quantities, values, strict=True)
        }


def _norms(squares: Tensor) -> tuple[Tensor, Tensor]:
    return ops.sqrt(squares), ops.sqrt(ops.sum(squares))


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    return ops.where(b > 0, a / ops.maximum(b, 1e-30), 0.0)


def _with_gaps(
    values: tuple[Tensor, Tensor], columns: Sequence[int], num_columns: int
) -> Tensor:
    """Puts values into their columns, 0 into the others, and the total at the end."""
    per_weight, total = values
    if len(columns) < num_columns:  # some weights have no gradient
        padded = ops.append(per_weight, 0.0)
        places = {column: i for i, column in enumerate(columns)}
        chosen = [places.get(i, len(columns)) for i in range(num_columns)]
        per_weight = ops.take(padded, chosen)
    return ops.append(per_weight, total)
