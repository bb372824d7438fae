"""Reports that can be sent to somebody: one HTML file, with everything in it."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Figure

_STYLE = """
body{margin:0;background:#f4f5f7;color:#2b2b2b;
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:860px;margin:0 auto;padding:32px 20px 48px}
h1{margin:0 0 4px;font-size:26px}h2{margin:0 0 12px;font-size:18px}
h3{margin:20px 0 6px;font-size:14px;color:#555}
p.facts{margin:0 0 24px;color:#666}
section{background:#fff;border-radius:10px;padding:20px 24px;margin:0 0 18px;
box-shadow:0 1px 3px rgba(0,0,0,.12);overflow-x:auto}
img{max-width:100%;height:auto;display:block}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid #eceef1}
th{font-weight:600;color:#555}th:first-child,td:first-child{text-align:left}
pre{background:#f4f5f7;border-radius:6px;padding:10px 14px;overflow-x:auto}
footer{color:#888;font-size:13px}
"""


def write_page(
    path: str | Path,
    *,
    title: str,
    facts: Iterable[str],
    sections: Iterable[str],
    footer: str,
) -> None:
    """Writes a page, which needs no scripts and nothing from elsewhere.

    Args:
        path: Where to write it.
        title: The title of the page, any text.
        facts: What stands below the title, texts.
        sections: What `section` returns.
        footer: The last line, HTML.

    Examples:
        >>> import pathlib, tempfile
        >>> from keras_ext._core._pages import section, write_page
        >>> path = pathlib.Path(tempfile.mkdtemp(), "page.html")
        >>> body = [section("Head", "<p>Text</p>")]
        >>> write_page(path, title="A & B", facts=["2 rows"], sections=body, footer="")
        >>> "<h1>A &amp; B</h1>" in path.read_text()
        True
    """
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>
<h1>{escape(title)}</h1><p class="facts">{escape(" · ".join(facts))}</p>
{"".join(sections)}
<footer>{footer}</footer></main></body></html>
"""
    Path(path).write_text(page, encoding="utf-8")


def require_page(path: object, title: object) -> None:
    """Raises unless a page can be written there, by that title."""
    is_path = isinstance(path, str | Path) and bool(str(path))
    require(is_path, "path", path, "a path")
    require(isinstance(title, str), "title", title, "a text")


def section(head: str, content: str) -> str:
    """A part of a page: a head, any text, and HTML."""
    return f"<section><h2>{escape(head)}</h2>{content}</section>"


def picture(figure: Figure, text: str) -> str:
    """A figure of Matplotlib as an image that is in the page itself."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, bbox_inches="tight", facecolor="white")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'


def table(heads: Sequence[str], labels: Sequence[str], rows: Data) -> str:
    """A table of rows of texts with labels before them."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in (label, *row)) + "</tr>"
        for label, row in zip(labels, rows, strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
