"""The arguments that pruning in a `fit` and at once have in common."""

from collections.abc import Sequence
from typing import Any

from keras_ext._core._checks import integers, number, require
from keras_ext.compression._mask_rule import MaskRule

SCOPES = ("layer", "global")


def checked_rule(
    m_by_n: Sequence[int] | None,
    block_size: Sequence[int] | None,
    max_layer_sparsity: float,
) -> MaskRule:
    """Checks what entries are pruned together."""
    m_n = _pair(m_by_n, "m_by_n", "two integers, such as (2, 4)")
    if m_n is not None:
        fits = m_n[0] < m_n[1]
        require(fits, "m_by_n", m_by_n, "(m, n) with m zeros in n entries, m < n")
    block = _pair(block_size, "block_size", "two integers, such as (4, 1)")
    one = m_n is None or block is None
    require(one, "block_size", block_size, "None if `m_by_n` is given")
    most = number(max_layer_sparsity, "max_layer_sparsity", above=0, high=1)
    return MaskRule(m_n, block, most)


def _pair(value: Any, name: str, expected: str) -> tuple[int, int] | None:
    if value is None:
        return None
    items = integers(value, name, low=1)
    require(len(items) == 2, name, value, expected)
    return items[0], items[1]
