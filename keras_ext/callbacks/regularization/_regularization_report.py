"""The words of an `AdaptiveRegularization`."""

from collections.abc import Mapping, Sequence

from keras_ext._core._typing import Record

# So many are named; a change by a smaller share is none.
_MOST, _NOTHING, _SMALLEST = 3, 0.01, 1e-12


def report(
    decisions: Sequence[Record],
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


def _line(row: Record, changed: bool) -> str:
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


def summary(first: Mapping[str, float], last: Mapping[str, float]) -> str:
    """Returns in a few words what was changed most.

    Args:
        first: The values before the first decision.
        last: Those of the model in the end.
    """
    changes = {path: _change(first[path], last[path]) for path in first}
    moved = [path for path in changes if changes[path] > _NOTHING]
    if not moved:
        return "nothing was changed"
    moved.sort(key=lambda path: -changes[path])
    words = [f"{path} {first[path]:.3g} -> {last[path]:.3g}" for path in moved[:_MOST]]
    others = len(moved) - len(words)
    return ", ".join(words) + (f", and {others} more" if others else "")


def _change(first: float, last: float) -> float:
    return abs(last - first) / max(abs(first), abs(last), _SMALLEST)
