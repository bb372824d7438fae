"""Figures of Matplotlib that nobody has to close."""

from typing import Any

from keras_ext._core._extras import import_extra


def new_figure(
    rows: int = 1, columns: int = 1, *, extra: str, size: Any, **axes: Any
) -> tuple[Any, Any]:
    """Makes a figure that pyplot knows nothing of, and its axes.

    Pyplot keeps what it makes until it is closed: a loop of trainings would collect
    figures, and a notebook show each of them twice.

    Args:
        rows: How many axes stand below one another. Defaults to `1`.
        columns: How many stand side by side. Defaults to `1`.
        extra: The extra of keras-ext that installs Matplotlib.
        size: Width and height in inches.
        **axes: What else `Figure.subplots` takes.

    Returns:
        The figure, and one axes or an array of them, as of `pyplot.subplots`.

    Examples:
        >>> from matplotlib import pyplot
        >>> from keras_ext._core._figures import new_figure
        >>> figure, (upper, lower) = new_figure(2, extra="explain", size=(4, 3))
        >>> pyplot.get_fignums()
        []
    """
    module = import_extra("matplotlib.figure", extra)
    figure = module.Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, **axes)


def plain(text: Any) -> str:
    r"""Text as it is, for Matplotlib, which takes what is between dollars for formulas.

    Examples:
        >>> from keras_ext._core._figures import plain
        >>> print(plain("US$ per A$"))
        US\$ per A\$
    """
    return str(text).replace("$", r"\$")
