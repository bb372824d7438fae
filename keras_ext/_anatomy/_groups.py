"""Weights, or parts of them, that have a norm in common."""

import functools
import math
from collections.abc import Callable, Sequence
from itertools import accumulate

import tensorflow as tf
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import choice
from keras_ext._core._dtypes import wide_dtype
from keras_ext._core._paths import layer_path
from keras_ext._core._typing import Tensor, Variable
from keras_ext._keras._replica import squared_norms
from keras_ext._keras._sparse_gradient import in_rows

KINDS = ("unit", "tensor", "layer", "global")


class Groups:
    """Divides weights into groups; what is one number per group stands in a row.

    So that a rule costs some operations in all and not some for each weight, which is
    what a small model would spend its time on.

    Args:
        variables: The weights.
        per: What a group is: `"unit"`, one output unit of a weight; `"tensor"`, one
            weight; `"layer"`, the weights whose paths differ in the last part only;
            `"global"`, all of them.
        axes: Function from weight to the axes within a unit.
    """

    def __init__(
        self, variables: Sequence[Variable], per: str, axes: Callable[[Variable], Axes]
    ) -> None:
        self.per = choice(per, "per", KINDS)
        self._axes = axes
        single = [v for v in variables if per != "unit" or _is_one_unit(v, axes(v))]
        held = {id(v) for v in single}
        # In the row, the weights that are one unit come first.
        self.variables = [*single, *(v for v in variables if id(v) not in held)]
        self._num_single = len(single)
        self._shapes = [self._factor_shape(v) for v in self.variables]
        names = [self._name(v) for v in self.variables]
        if per in ("unit", "tensor"):
            self.names = [
                name
                for name, shape in zip(names, self._shapes, strict=True)
                for _ in range(math.prod(shape))
            ]
        else:
            self.names = list(dict.fromkeys(names))
            self._group_of = [self.names.index(name) for name in names]

    def __len__(self) -> int:
        return len(self.names)

    def _name(self, variable: Variable) -> str:
        if self.per == "global":
            return "global"
        if self.per == "layer":
            return layer_path(variable.path)
        return variable.path

    def _factor_shape(self, variable: Variable) -> list[int]:
        """The shape of the weight with 1 for the axes within a group."""
        within = (
            range(len(variable.shape)) if self.per != "unit" else self._axes(variable)
        )
        return [1 if i in within else n for i, n in enumerate(variable.shape)]

    def norms(self, tensors: Sequence[Tensor], variables: Sequence[Variable]) -> Tensor:
        """The norms of the groups, a row in float32.

        Args:
            tensors: A tensor for each of `variables`.
            variables: Some of the weights; others count as zero.
        """
        return ops.sqrt(self.squares(tensors, variables))

    def squares(
        self, tensors: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Tensor:
        """The squared norms of the groups, a row in float32."""
        tensor_of = {id(v): x for x, v in zip(tensors, variables, strict=True)}
        single = self.variables[: self._num_single]
        rows = [_squares_of(single, tensor_of)]
        for v, shape in zip(
            self.variables[self._num_single :],
            self._shapes[self._num_single :],
            strict=True,
        ):
            if id(v) not in tensor_of:
                rows.append(ops.zeros((math.prod(shape),), "float32"))
                continue
            squares = ops.square(ops.cast(tensor_of[id(v)], "float32"))
            sums = ops.sum(squares, axis=self._axes(v))
            rows.append(sums if len(sums.shape) == 1 else ops.reshape(sums, (-1,)))
        row = rows[0] if len(rows) == 1 else ops.concatenate(rows)
        if self.per == "global":
            return ops.reshape(ops.sum(row), (1,))
        if self.per == "layer":
            return tf.math.unsorted_segment_sum(row, self._group_of, len(self))
        return row

    def scaled(
        self, tensors: Sequence[Tensor], variables: Sequence[Variable], row: Tensor
    ) -> list[Tensor]:
        """Multiplies every tensor by the numbers of its groups."""
        factors = self._by_variable(row)
        scaled = []
        for x, v in zip(tensors, variables, strict=True):
            multiply = functools.partial(_product, factor=factors[id(v)])
            scaled.append(in_rows(multiply, x))
        return scaled

    def _by_variable(self, row: Tensor) -> dict[int, Tensor]:
        """Cuts a row into one tensor for each weight, that broadcasts to it."""
        if self.per == "global":
            number = ops.reshape(row, ())
            return {id(v): number for v in self.variables}
        if self.per == "layer":
            row = ops.take(row, self._group_of)
        ends = list(accumulate(math.prod(shape) for shape in self._shapes))
        pieces = ops.split(row, ends[:-1]) if len(ends) > 1 else [row]
        factors: dict[int, Tensor] = {}
        for v, shape, piece in zip(self.variables, self._shapes, pieces, strict=True):
            # The last axis is where a row of numbers goes by itself.
            fits = len(shape) > 0 and shape[-1] == math.prod(shape)
            factors[id(v)] = piece if fits else ops.reshape(piece, shape)
        return factors


def _product(x: Tensor, factor: Tensor) -> Tensor:
    # At least in float32, since a small factor would vanish in float16.
    wide = wide_dtype(x.dtype)
    return ops.cast(ops.cast(x, wide) * ops.cast(factor, wide), x.dtype)


def _is_one_unit(variable: Variable, axes: Axes) -> bool:
    return len(axes) == len(variable.shape)


def _squares_of(variables: Sequence[Variable], tensor_of: dict[int, Tensor]) -> Tensor:
    """The squared norms of whole weights, a row."""
    squares = squared_norms([tensor_of[id(v)] for v in variables if id(v) in tensor_of])
    missing = [i for i, v in enumerate(variables) if id(v) not in tensor_of]
    if not missing:
        return squares
    if len(missing) == len(variables):
        return ops.zeros((len(variables),), "float32")
    present = [i for i in range(len(variables)) if i not in missing]
    return tf.scatter_nd([[i] for i in present], squares, (len(variables),))
