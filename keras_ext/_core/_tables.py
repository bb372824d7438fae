"""Tables in notebooks."""

from collections.abc import Sequence
from html import escape

_CELL = "padding:.1em .8em;text-align:"


def html_table(
    rows: Sequence[Sequence[str]], *, above: str = "", below: str = ""
) -> str:
    """Returns a table as HTML, for `_repr_html_`.

    The first column is words and the others, if they look so, numbers.

    Args:
        rows: Rows of texts, the headings first.
        above: A line to stand above it.
        below: A line to stand below it.

    Examples:
        >>> from keras_ext._core._tables import html_table
        >>> html_table([["rule", "rate"], ["valley", "0.1"]]).count("<tr>")
        2
    """
    head, *body = rows
    sides = [_side([row[i] for row in body]) for i in range(len(head))]
    lines = [_row("th", head, sides), *(_row("td", row, sides) for row in body)]
    paragraphs = [f"<p>{escape(text)}</p>" if text else "" for text in (above, below)]
    table = f"<table>{''.join(lines)}</table>"
    return f"<div>{paragraphs[0]}{table}{paragraphs[1]}</div>"


def _row(tag: str, cells: Sequence[str], sides: Sequence[str]) -> str:
    inside = [
        f'<{tag} style="{_CELL}{side}">{escape(cell)}</{tag}>'
        for cell, side in zip(cells, sides, strict=True)
    ]
    return f"<tr>{''.join(inside)}</tr>"


def _side(cells: Sequence[str]) -> str:
    are_numbers = all(cell[:1] in "+-0123456789" for cell in cells)
    return "right" if are_numbers else "left"
