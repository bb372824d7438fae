"""The sides of a weight, seen as a matrix, and what is multiplied on them."""

import math
from collections.abc import Mapping

from keras import ops

from keras_ext._core._typing import Tensor, Variable


def matrix_shape(variable: Variable) -> tuple[int, ...]:
    """A weight as a matrix from inputs to outputs; one of one axis stays a vector."""
    *inputs, outputs = tuple(variable.shape) or (1,)
    return (math.prod(inputs), outputs) if inputs else (outputs,)


def sides_of(variable: Variable, max_size: int) -> Mapping[str, int]:
    """The sizes of the sides of that matrix, without those that are too large."""
    sizes = matrix_shape(variable)
    names = ("left", "right")[-len(sizes) :]
    return {n: size for n, size in zip(names, sizes, strict=True) if size <= max_size}


def outer(matrix: Tensor, side: str) -> Tensor:
    """The matrix of a side: how its entries vary together in a gradient."""
    if len(matrix.shape) == 1:
        return ops.expand_dims(matrix, 1) * ops.expand_dims(matrix, 0)
    if side == "left":
        return ops.matmul(matrix, ops.transpose(matrix))
    return ops.matmul(ops.transpose(matrix), matrix)


def eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, rising, and eigenvectors; NaN if the matrix is not finite.

    TensorFlow would end the training there, before others could look.
    """
    finite = ops.all(ops.isfinite(matrix))
    safe = ops.where(finite, matrix, ops.eye(matrix.shape[0], dtype=matrix.dtype))
    values, vectors = ops.eigh(safe)
    nan = ops.cast(math.nan, matrix.dtype)
    return ops.where(finite, values, nan), ops.where(finite, vectors, nan)


def turned(matrix: Tensor, by: Mapping[str, Tensor], *, back: bool = False) -> Tensor:
    """A matrix multiplied on its sides, by transposed matrices or by those themselves.

    Args:
        matrix: The matrix, or a vector, which has a right side only.
        by: A matrix for each side that is multiplied.
        back: Whether the inverse of what is done otherwise is done, for matrices that
            are orthogonal.
    """
    is_vector = len(matrix.shape) == 1
    matrix = ops.expand_dims(matrix, 0) if is_vector else matrix
    if "left" in by:
        left = by["left"] if back else ops.transpose(by["left"])
        matrix = ops.matmul(left, matrix)
    if "right" in by:
        right = ops.transpose(by["right"]) if back else by["right"]
        matrix = ops.matmul(matrix, right)
    return matrix[0] if is_vector else matrix
