"""Text whose words have the color of what they did."""

from collections.abc import Sequence
from html import escape

import numpy as np

from keras_ext._core._checks import integer, require
from keras_ext._core._typing import Data, Explanation
from keras_ext.explain._drawing import LOWERS, RAISES, Shown, limit, numbers

_FORM = "of the shape (rows, tokens), with or without outputs"
_STRONGEST = 0.75


def text_html(
    explanation: Explanation,
    *,
    tokens: Sequence[Sequence[str]] | None = None,
    output: int | str | None = None,
    max_rows: int = 10,
) -> str:
    """Writes texts as HTML, with tokens in the color of their values.

    Red has raised the output, blue has lowered it; the pointer on a token shows its
    value. The HTML needs neither scripts nor anything from elsewhere. In a notebook
    `IPython.display.HTML` shows it.

    Args:
        explanation: A `shap.Explanation` of rows of tokens, or an array of values.
        tokens: What to write for the tokens of each row; an empty string, such as for
            padding, is left out. None writes the data of the explanation.
        output: The number or name of an output. None where there is only one.
        max_rows: Integer >= 1; the number of rows written at most. Defaults to `10`.

    Returns:
        HTML, a `<div>`.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import numpy as np, shap
        >>> import keras_ext as kx
        >>> values = np.array([[0.5, -0.2]])
        >>> explanation = shap.Explanation(values, base_values=np.array([0.1]))
        >>> html = kx.explain.plots.text_html(explanation, tokens=[["good", "<film>"]])
        >>> "&lt;film&gt;" in html
        True
    """
    max_rows = integer(max_rows, "max_rows", low=1)
    shown = Shown(explanation, (1,), _FORM)
    which = shown.output(output)
    values = shown.values[:max_rows, :, which]
    words = written(shown.data if tokens is None else tokens, shown.values.shape)
    most = limit(values)
    rows = [
        _row(shown.caption(row, which), words[row], values[row], most)
        for row in range(len(values))
    ]
    return f'<div style="font-family:system-ui,sans-serif">{"".join(rows)}</div>'


def written(given: Data, shape: tuple[int, ...]) -> list[list[str]]:
    """What is to be written for the tokens of each row."""
    rule = f"{shape[0]} rows of {shape[1]} tokens each"
    several = isinstance(given, list | tuple) or np.ndim(given) > 0
    rows = list(given) if several else []
    rows = [list(row) if np.ndim(row) else [] for row in rows]
    valid = len(rows) == shape[0] and all(len(row) == shape[1] for row in rows)
    require(valid, "tokens", [len(row) for row in rows], rule)
    return [[_word(token) for token in row] for row in rows]


def _word(token: str | bytes | float) -> str:
    if isinstance(token, bytes):
        return token.decode("utf-8", "replace")
    # The data of an explanation are in float64, tokens too.
    whole = isinstance(token, float | np.floating) and float(token).is_integer()
    return str(int(token) if whole else token)


def _row(caption: str, words: list[str], values: np.ndarray, most: float) -> str:
    spans = [
        _span(word, value, most)
        for word, value in zip(words, values, strict=True)
        if word
    ]
    head = f'<div style="font-size:12px;color:#666">{escape(caption)}</div>'
    text = f'<div style="line-height:1.9">{" ".join(spans)}</div>'
    return f'<div style="margin:0 0 14px">{head}{text}</div>'


def _span(word: str, value: float, most: float) -> str:
    strength = _STRONGEST * min(abs(value) / most, 1.0)
    color = RAISES if value > 0 else LOWERS
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    style = (
        f"background:rgba({red},{green},{blue},{strength:.3f});"
        "padding:2px 3px;border-radius:3px;white-space:pre-wrap"
    )
    sign = "+" if value > 0 else ""
    return (
        f'<span style="{style}" title="{sign}{numbers(value)[0]}">{escape(word)}</span>'
    )
