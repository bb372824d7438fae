"""What was pruned of a model, and what was not."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_ext._core._checks import require
from keras_ext._core._tables import html_table
from keras_ext._core._typing import Shape
from keras_ext.compression._pruned_weights import Candidate


@dataclass(frozen=True)
class WeightSparsity:
    """One row: a weight, its zeros, and the reason why it was skipped, if it was."""

    path: str
    shape: Shape
    size: int
    zeros: int
    values: int
    skipped: str | None


@dataclass(frozen=True)
class PruningReport:
    """Every weight with two axes or more, pruned or skipped, with the reason.

    It prints as a table. `Prune`, `cluster` and the like make it; you need not.

    Args:
        rows: For each weight its `path`, `shape`, `size`, `zeros`, the number of
            different `values`, and `skipped`, the reason why it was left alone or None.

    Raises:
        ValueError: If they are no such rows.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> model = keras.Sequential(
        ...     [keras.Input((4,)), keras.layers.Dense(8, name="dense")]
        ... )
        >>> report = kx.compression.prune(model, 0.75)
        >>> print(report)
        weight        size  zeros
        dense/kernel    32  75.0%
        all pruned      32  75.0%
        >>> report.sparsity, report.skipped
        (0.75, {})
    """

    rows: Sequence[WeightSparsity]

    def __post_init__(self) -> None:
        rows = self.rows
        valid = isinstance(rows, list | tuple)
        valid = valid and all(isinstance(row, WeightSparsity) for row in rows)
        require(valid, "rows", rows, "a list of rows, one for each weight")

    @property
    def sparsity(self) -> float:
        """The share of zeros in the weights that are not skipped."""
        pruned = [row for row in self.rows if row.skipped is None]
        return sum(r.zeros for r in pruned) / max(1, sum(r.size for r in pruned))

    @property
    def skipped(self) -> dict[str, str]:
        """From the paths of the weights that were left alone to the reasons."""
        return {r.path: r.skipped for r in self.rows if r.skipped is not None}

    @property
    def summary(self) -> str:
        """What is pruned and what is not, in a line."""
        chosen = [row for row in self.rows if row.skipped is None]
        weights = "1 weight" if len(chosen) == 1 else f"{len(chosen)} weights"
        line = f"{weights} with {sum(row.size for row in chosen):,} numbers."
        reasons = [f"{path}: {reason}" for path, reason in self.skipped.items()]
        return f"{line} Skipped: {'; '.join(reasons)}." if reasons else line

    def _table(self) -> list[tuple[str, str, str, str]]:
        pruned = sum(r.size for r in self.rows if r.skipped is None)
        table = [("weight", "size", "zeros", "")]
        table += [_line(r.path, r.size, r.zeros / r.size, r.skipped) for r in self.rows]
        return [*table, _line("all pruned", pruned, self.sparsity, None)]

    def __str__(self) -> str:
        table = self._table()
        widths = [max(len(row[i]) for row in table) for i in range(3)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip()
            for a, b, c, d in table
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self._table())


def _line(
    path: str, size: int, share: float, skipped: str | None
) -> tuple[str, str, str, str]:
    reason = f"skipped: {skipped}" if skipped else ""
    return path, f"{size:,}", f"{share:.1%}", reason


def report_on(found: Sequence[Candidate]) -> PruningReport:
    """Counts the zeros that there are now."""
    rows = []
    for candidate in found:
        values = keras.ops.convert_to_numpy(candidate.variable)
        zeros = int(values.size - np.count_nonzero(values))
        shape, distinct = tuple(candidate.variable.shape), len(np.unique(values))
        counts = (shape, values.size, zeros, distinct)
        rows.append(WeightSparsity(candidate.path, *counts, candidate.reason))
    return PruningReport(rows)
