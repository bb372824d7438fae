"""The words of an `AdaptiveRegularization`."""

from collections.abc import Mapping, Sequence
from typing import Any


def report(
    decisions: Sequence[Mapping[str, Any]],
    first: Mapping[str, float],
    not_moved: Mapping[str, float],
) -> str:
    """Returns a line for each decision, and one for what is not moved.

    Args:
        decisions: The decisions.
        first: The values before the first one.
        not_moved: The values of what is not moved.
    """
    lines, before = [], first
    for row in decisions:
        lines.append(_line(row, row["values"] != before))
        before = row["values"]
    if not_moved:
        lines.append(f"not moved: {_named(not_moved)}")
    return "\n".join(lines)


def _line(row: Mapping[str, Any], changed: bool) -> str:
    training, validation = row["training_loss"], row["validation_loss"]
    line = (
        f"epoch {row['epoch']}: gap {row['gap']:.2f} (training {training:.4g}, "
        f"validation {validation:.4g}); {row['reason']}; "
        f"strength {row['strength']:+.2f}"
    )
    if changed:
        line += f" ({row['change']:+.2f}): {_named(row['values'])}"
    return f"{line}; {row['note']}" if row["note"] else line


def _named(values: Mapping[str, float]) -> str:
    return ", ".join(f"{path} {value:.3g}" for path, value in values.items())
