"""What the pictures of explanations have in common: colors, scales and captions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_ext._core._checks import is_integer, require
from keras_ext._core._extras import import_extra
from keras_ext._core._figures import new_figure
from keras_ext._core._typing import Data, Explanation, Figure
from keras_ext.explain._arguments import as_numbers
from keras_ext.explain._values import has_outputs, values_of

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

# Those of shap, so that pictures of both can stand side by side.
RAISES, LOWERS = "#ff0051", "#008bfb"
# A few extreme values would leave the others without color.
_PERCENTILE = 99.5


def drawing(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float], **axes: object
) -> tuple[Figure, Any]:
    """A figure of that size in inches and its axes, as `new_figure` makes them."""
    return new_figure(rows, columns, extra="explain", size=size, **axes)


def colormap(name: str) -> "Colormap":
    """A colormap of Matplotlib."""
    return import_extra("matplotlib", "explain").colormaps[name]


def diverging() -> "Colormap":
    """From what lowers the output, over white, to what raises it."""
    colors = import_extra("matplotlib.colors", "explain")
    ends = [LOWERS, "#ffffff", RAISES]
    return colors.LinearSegmentedColormap.from_list("keras_ext", ends)


def limit(values: np.ndarray) -> float:
    """The value that has the full color; larger ones have it too."""
    sizes = np.abs(values[np.isfinite(values)])
    found = float(np.percentile(sizes, _PERCENTILE)) if sizes.size else 0.0
    # Where most values are 0, so is the percentile.
    return found or float(sizes.max(initial=0.0)) or 1.0


def numbers(*values: float) -> list[str]:
    """Numbers with as many decimals as the largest of them needs for three digits."""
    largest = max(abs(value) for value in values)
    if not np.isfinite(largest) or not 1e-4 < largest < 1e7:
        found = [f"{value:.3g}" for value in values]
    else:
        decimals = int(np.clip(2 - np.floor(np.log10(largest)), 0, 6))
        # Adding 0 makes a rounded -0.0 positive.
        found = [f"{round(value, decimals) + 0.0:.{decimals}f}" for value in values]
    return [text.replace("-", "\N{MINUS SIGN}") for text in found]


class Shown:
    """An explanation, with its outputs in a list.

    Args:
        explanation: A `shap.Explanation` of several rows, or an array of values.
        axes: How many axes a row may have, without that of the outputs.
        form: What it must be, for the error.

    Attributes:
        values: `(rows, ..., outputs)`.
        base: `(rows, outputs)`.
        data: The data, `(rows, ...)`, or None.

    Raises:
        ValueError: If the values have another number of axes.
    """

    def __init__(
        self, explanation: Explanation, axes: Sequence[int], form: str
    ) -> None:
        values = as_numbers(values_of(explanation), "explanation", form)
        values = values if has_outputs(explanation) else values[..., None]
        valid = values.ndim - 2 in axes and len(values) > 0
        hint = (
            "Bring values of groups to the shape of the input with `Explainer.spread`."
        )
        require(valid, "explanation", np.shape(values_of(explanation)), form, hint)
        self.values = values
        base = getattr(explanation, "base_values", None)
        missing = np.full((), np.nan)
        base = np.asarray(missing if base is None else base, "float64")
        shape = (len(values), values.shape[-1])
        self.base = np.broadcast_to(
            base.reshape(-1, shape[1] if base.ndim else 1), shape
        )
        # That of an array is its memory.
        is_array = isinstance(explanation, np.ndarray)
        self.data = None if is_array else getattr(explanation, "data", None)
        self._names = _names(getattr(explanation, "output_names", None), shape)
        self._features = getattr(explanation, "feature_names", None)

    @property
    def num_outputs(self) -> int:
        """How many outputs are explained."""
        return int(self.values.shape[-1])

    def name(self, row: int, output: int) -> str:
        """The name of an output of a row, if it has one."""
        return str(self._names[row][output])

    def title(self, output: int) -> str:
        """The name of an output for all rows, of which each may have its own."""
        names = {row[output] for row in self._names}
        if len(names) > 1:  # of `outputs=("top", k)`
            return f"output {output + 1}, from the highest"
        return str(names.pop()) or f"output {output}"

    def features(self, row: int | None = None) -> list[str]:
        """The names of the last axis of a row, or of all rows."""
        count = self.values.shape[-2]
        numbered = [f"feature {i}" for i in range(count)]
        if self._features is None:
            return numbered
        names = np.asarray(self._features, object)
        if names.ndim > 1:
            if names.shape[-1] != count or len(names) != len(self.values):
                return numbered
            names = names.reshape(len(names), -1, count)[:, 0]
            if row is None and (names != names[:1]).any():
                return numbered
            names = names[row or 0]
        return [str(name) for name in names] if names.shape == (count,) else numbered

    def reached(self, row: int, output: int) -> float:
        """The output that the values add up to."""
        total = self.values[row, ..., output].sum() + self.base[row, output]
        return float(total)

    def caption(self, row: int, output: int) -> str:
        """The name of the output, and from where to where the values lead."""
        name, reached = self.name(row, output), self.reached(row, output)
        if not np.isfinite(reached):
            return name
        begin, end = numbers(float(self.base[row, output]), reached)
        return f"{name or 'output'}: {begin} \N{RIGHTWARDS ARROW} {end}"

    def require_row(self, row: int) -> None:
        """Raises if there is no such row."""
        valid = is_integer(row) and 0 <= row < len(self.values)
        require(valid, "row", row, f"an integer from 0 to {len(self.values) - 1}")

    def output(self, given: Any) -> int:
        """The number of an output that is given by number or name."""
        names = [str(name) for name in self._names[0]]
        if given is None and self.num_outputs == 1:
            return 0
        is_name = isinstance(given, str) and given in names
        valid = is_name or (is_integer(given) and given in range(len(names)))
        rule = f"the number or name of one of the outputs {names}"
        require(valid, "output", given, rule)
        return names.index(given) if isinstance(given, str) else int(given)


def _names(given: Data, shape: tuple[int, int]) -> list[list[str]]:
    """The names of the outputs of each row; with `outputs="top"` these differ."""
    names = np.asarray("" if given is None else given, object)
    if shape[1] == 1 and names.size == shape[0]:  # with `outputs="top"`
        names = names.reshape(shape)
    # A single name may have come without a list around it.
    known = names.ndim < 2 or names.shape == shape
    usual = names if known and names.size in (1, shape[1], shape[0] * shape[1]) else ""
    return [list(row) for row in np.broadcast_to(usual, shape)]
