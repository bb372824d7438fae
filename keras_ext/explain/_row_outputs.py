"""An explanation of one output of each row, which need not be the same one."""

import functools
from typing import Any

import numpy as np

from keras_ext._core._extras import import_extra
from keras_ext._core._typing import Explanation


def named_by_row(explanation: Explanation, names: np.ndarray) -> Explanation:
    """The explanation with the name of its output for each row, as `output_names`.

    `shap.Explanation` takes names of one axis for those of several outputs, and its
    slices come out wrong; so they stand beside it, and go with its rows.

    Args:
        explanation: A `shap.Explanation` of one output of each row.
        names: The name of that output for each row, or of the only row.
    """
    explanation.__class__ = _row_named()
    explanation.of_rows = names
    return explanation


@functools.cache
def _row_named() -> type:
    """The class, made when shap is there."""
    base = import_extra("shap", "explain").Explanation

    class Explanation(base):  # type: ignore[misc, valid-type]
        """A `shap.Explanation` whose rows have outputs of their own."""

        of_rows: Any = None

        @property
        def output_names(self) -> np.ndarray | None:
            return self.of_rows

        def __copy__(self) -> Any:
            return _without_names(self)

        def __getitem__(self, item: Any) -> Any:
            # Of a single row, the rest of the axes are no rows.
            single = np.ndim(self.of_rows) == 0
            rows = item[0] if isinstance(item, tuple) else item
            rows = ... if single else rows
            found = base.__getitem__(self, item)  # a plain one, see `__copy__`
            if rows is ...:
                return named_by_row(found, self.of_rows)
            if isinstance(rows, int | np.integer | slice | list | np.ndarray):
                return named_by_row(found, self.of_rows[rows])
            return found  # rows that shap has chosen, and does not say which

        def __reduce__(self) -> Any:
            return named_by_row, (_without_names(self), self.of_rows)

    return Explanation


def _without_names(explanation: Explanation) -> Explanation:
    """A plain `shap.Explanation` of the same numbers."""
    kind = import_extra("shap", "explain").Explanation
    names, explanation.of_rows = explanation.of_rows, None
    try:
        plain = kind.__copy__(explanation)
    finally:
        explanation.of_rows = names
    plain.compute_time = explanation.compute_time
    return plain
