"""Which entries of some weights are kept, from their scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf
from keras import ops

from keras_ext._core._checks import choice, integers, number, require
from keras_ext._core._typing import Shape, Tensor

SCOPES = ("layer", "global", "adaptive")


@dataclass(frozen=True)
class MaskRule:
    """Keeps the entries with the largest scores.

    Attributes:
        m_by_n: As `(m, n)`, zeros in every n entries along the inputs; or None.
        block_size: Rows and columns that are kept or pruned together; or None.
        max_layer_sparsity: What no weight exceeds when several are ranked together.
        adaptive: Whether these are ranked by their shares of what is left of a weight.
    """

    m_by_n: tuple[int, int] | None = None
    block_size: tuple[int, int] | None = None
    max_layer_sparsity: float = 1.0
    adaptive: bool = False

    def reason_against(self, shape: Shape) -> str | None:
        """Why a weight of this shape cannot have such a mask, or None."""
        if self.m_by_n is not None and (shape[-2] or 1) % self.m_by_n[1]:
            return f"its {shape[-2]} inputs are no multiple of {self.m_by_n[1]}"
        if self.block_size is not None:
            rows, columns = _as_matrix(shape)
            if rows % self.block_size[0] or columns % self.block_size[1]:
                return f"{rows} x {columns} has no whole blocks of {self.block_size}"
        return None

    def masks(self, scores: Sequence[Tensor], sparsity: Tensor) -> list[Tensor]:
        """Masks, True for what is kept, of weights that are ranked together.

        Args:
            scores: The scores of their entries, in float32.
            sparsity: The share of entries to prune.
        """
        if self.m_by_n is not None:
            return [_m_by_n_mask(score, *self.m_by_n) for score in scores]
        if self.block_size is None:
            return self._largest(scores, sparsity)
        pooled = [_pooled(score, self.block_size) for score in scores]
        kept = self._largest(pooled, sparsity)
        return [
            _spread(mask, self.block_size, score.shape)
            for mask, score in zip(kept, scores, strict=True)
        ]

    def _largest(self, scores: Sequence[Tensor], sparsity: Tensor) -> list[Tensor]:
        flat = [ops.reshape(score, (-1,)) for score in scores]
        if len(scores) == 1:
            return [scores[0] >= _threshold(flat[0], sparsity)]
        if self.adaptive:
            flat = [_shares(score) for score in flat]
        threshold = _threshold(ops.concatenate(flat), sparsity)
        # A threshold for all may prune a layer that happens to have small weights as a
        # whole, and nothing would come through.
        own = [_threshold(score, self.max_layer_sparsity) for score in flat]
        return [
            ops.reshape(ranked >= ops.minimum(threshold, least), score.shape)
            for score, ranked, least in zip(scores, flat, own, strict=True)
        ]


def _shares(scores: Tensor) -> Tensor:
    """The share of each squared score in the sum of those that are as large (LAMP).

    How far the outputs of a layer would move without an entry does not depend on the
    scale of its weights: so each layer keeps what it needs, and its largest entry.
    """
    order = tf.argsort(scores)
    squares = tf.square(tf.gather(scores, order))
    larger = tf.cumsum(squares, reverse=True)
    shares = tf.math.divide_no_nan(squares, larger)
    return tf.scatter_nd(order[:, None], shares, tf.shape(scores))


def _threshold(scores: Tensor, sparsity: Tensor) -> Tensor:
    """The smallest score that is kept; equal ones are kept together."""
    # In float32 and rounded to even, as in tensorflow-model-optimization, for the same
    # masks. At least one entry is kept.
    # `sort` is ascending: the largest `kept` begin at `size - kept`.
    size = scores.shape[0]
    share = 1.0 - ops.cast(sparsity, "float32")
    kept = ops.cast(ops.round(float(size) * share), "int32")
    return ops.take(ops.sort(scores), size - ops.maximum(kept, 1))


def _m_by_n_mask(scores: Tensor, m: int, n: int) -> Tensor:
    """Prunes the m smallest of every n entries along the inputs, the last axis but one.

    These are consecutive where kernels for sparse matrices look for them.
    """
    moved = ops.swapaxes(scores, -1, -2)
    groups = ops.reshape(moved, (-1, n))
    # The rank of each, those that come first before others that are as large.
    ranks = ops.argsort(ops.argsort(groups, axis=-1), axis=-1)
    return ops.swapaxes(ops.reshape(ranks >= m, moved.shape), -1, -2)


def _as_matrix(shape: Shape) -> tuple[int, int]:
    rows = 1
    for length in shape[:-1]:
        rows *= int(length or 1)
    return rows, int(shape[-1] or 1)


def _pooled(scores: Tensor, block_size: tuple[int, int]) -> Tensor:
    """The mean score of each block."""
    rows, columns = _as_matrix(scores.shape)
    height, width = block_size
    blocks = ops.reshape(scores, (rows // height, height, columns // width, width))
    return ops.mean(blocks, axis=(1, 3))


def _spread(mask: Tensor, block_size: tuple[int, int], shape: Shape) -> Tensor:
    """The mask of entries from that of blocks."""
    rows = ops.repeat(mask, block_size[0], axis=0)
    return ops.reshape(ops.repeat(rows, block_size[1], axis=1), shape)


def score(criterion: str, weight: Tensor, seed: int) -> Tensor:
    """The scores of the entries of a weight, in float32; larger ones are kept.

    Args:
        criterion: `"magnitude"` or `"random"`.
        weight: The weight.
        seed: What random scores come from. The same one gives the same scores, on every
            replica and at each renewal, so that what is pruned stays so.
    """
    if criterion == "magnitude":
        return ops.abs(ops.cast(weight, "float32"))
    return tf.random.stateless_uniform(weight.shape, seed=(seed, 0))


def checked_rule(
    m_by_n: Sequence[int] | None,
    block_size: Sequence[int] | None,
    max_layer_sparsity: float,
    scope: str = "layer",
    criterion: str = "magnitude",
) -> MaskRule:
    """Checks what entries are pruned together."""
    choice(scope, "scope", SCOPES)
    # Others have scores below zero, or such as are squares already.
    fits = scope != "adaptive" or criterion in ("magnitude", "activation")
    rule = f'"layer" or "global" with criterion="{criterion}"'
    require(fits, "scope", scope, rule)
    m_n = _pair(m_by_n, "m_by_n", "two integers, such as (2, 4)")
    if m_n is not None:
        fits = m_n[0] < m_n[1]
        require(fits, "m_by_n", m_by_n, "(m, n) with m zeros in n entries, m < n")
    block = _pair(block_size, "block_size", "two integers, such as (4, 1)")
    one = m_n is None or block is None
    require(one, "block_size", block_size, "None if `m_by_n` is given")
    most = number(max_layer_sparsity, "max_layer_sparsity", above=0, high=1)
    return MaskRule(m_n, block, most, scope == "adaptive")


def _pair(
    value: Sequence[int] | None, name: str, expected: str
) -> tuple[int, int] | None:
    if value is None:
        return None
    items = integers(value, name, low=1)
    require(len(items) == 2, name, value, expected)
    return items[0], items[1]
