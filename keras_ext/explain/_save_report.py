"""An explanation as a page that can be sent to somebody."""

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from keras_ext._core._checks import is_integer, require
from keras_ext._core._extras import import_extra
from keras_ext.explain import plots
from keras_ext.explain._drawing import Shown, numbers, pyplot
from keras_ext.explain._report_figures import draw_importances, draw_swarm

_FORM = "of features, sequences or images, (rows, ...), with or without outputs"
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
footer{color:#888;font-size:13px}
"""


def save_report(
    explanation: Any,
    path: Any,
    *,
    title: str = "Explanation",
    max_rows: int = 5,
    max_features: int = 15,
    tokens: Sequence[Sequence[str]] | None = None,
    images: Any = None,
) -> None:
    """Writes an explanation as one HTML file, with everything in it.

    Which features matter over all rows, in bars, dots and numbers, and how the outputs
    of the first rows came about. Images are drawn as by `plots.image_grid`, sequences
    as by `plots.sequence`, and where there are `tokens` texts as by `plots.text_html`.
    The file needs no scripts and nothing from elsewhere.

    Args:
        explanation: A `shap.Explanation` of several rows.
        path: Where to write it, such as `"report.html"`.
        title: The title of the page. Defaults to `"Explanation"`.
        max_rows: Positive integer, how many rows are shown one by one. Defaults to `5`.
        max_features: Positive integer, how many features are shown; the others are
            added up. Defaults to `15`.
        tokens: What to write for the tokens of each row, if these are texts.
        images: What to show of images, if it is not what the model was given.

    Raises:
        ValueError: If an argument is not of this form.
        ImportError: If shap or Matplotlib is not installed.

    Examples:
        >>> import pathlib, tempfile
        >>> import numpy as np, shap
        >>> import keras_ext as kx
        >>> x = np.random.default_rng(0).normal(size=(20, 3))
        >>> explanation = shap.Explanation(
        ...     x, np.zeros(20), data=x, feature_names=["age", "size", "weight"]
        ... )
        >>> path = pathlib.Path(tempfile.mkdtemp(), "report.html")
        >>> kx.explain.save_report(explanation, path, title="Who pays late?")
        >>> "<h1>Who pays late?</h1>" in path.read_text()
        True
    """
    for name, value in (("max_rows", max_rows), ("max_features", max_features)):
        valid = is_integer(value) and value > 0
        require(valid, name, value, "a positive integer")
    require(isinstance(path, str | Path), "path", path, "a path")
    kind = import_extra("shap", "explain").Explanation
    require(
        isinstance(explanation, kind), "explanation", explanation, "a shap.Explanation"
    )
    shown = Shown(explanation, (1, 2, 3), _FORM)
    sections: list[str] = []
    if shown.values.ndim < 5:
        for output in range(shown.num_outputs):
            sections += _overall(explanation, shown, output, max_features)
    if tokens is not None:
        sections += _texts(explanation, shown, tokens, max_rows)
    elif shown.values.ndim == 5:
        drawn = plots.image_grid(explanation, images=images, max_rows=max_rows)
        sections.append(_section("Single images", _picture(drawn, "images")))
    else:
        sections += _single(explanation, shown, max_rows, max_features)
    facts = escape(" · ".join(_facts(explanation, shown)))
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>
<h1>{escape(title)}</h1><p class="facts">{facts}</p>
{"".join(sections)}
<footer>Red raises an output, blue lowers it. The values of a row and the base value
add up to its output.</footer></main></body></html>
"""
    Path(path).write_text(page, encoding="utf-8")


def _facts(explanation: Any, shown: Shown) -> Iterator[str]:
    rows, *shape, outputs = shown.values.shape
    yield f"{rows} rows"
    yield f"{' × '.join(map(str, shape))} values each"
    if outputs > 1:
        yield f"{outputs} outputs"
    if explanation.compute_time is not None:
        yield f"computed in {explanation.compute_time:.2g} s"


def _overall(
    explanation: Any, shown: Shown, output: int, max_features: int
) -> Iterator[str]:
    """Features over all rows: bars, dots and numbers."""
    values = shown.values[..., output]
    # Of sequences, the steps of a feature are added up.
    sizes = np.abs(values).reshape(len(values), -1, values.shape[-1]).sum(axis=1)
    means = sizes.mean(axis=0)
    names = _feature_names(explanation, len(means), values.ndim)
    order = np.argsort(-means, kind="stable")[:max_features]
    others = len(means) - len(order)
    labels = [names[i] for i in order]
    bars = list(means[order])
    if others:
        labels.append(f"{others} others")
        bars.append(means.sum() - means[order].sum())
    name = shown.name(0, output) if shown.num_outputs > 1 else ""
    of = f" for {name}" if name else ""
    picture = draw_importances(labels, np.asarray(bars), others)
    content = _picture(picture, "mean absolute values")
    if values.ndim == 2:
        data = None if shown.data is None else np.asarray(shown.data)[:, order]
        swarm = draw_swarm(labels[: len(order)], values[:, order], data)
        content += _picture(swarm, "values of all rows")
        content += _table(explanation, names, order, values, output)
    yield _section(f"What matters{of}", content)


def _feature_names(explanation: Any, count: int, ndim: int) -> list[str]:
    names = explanation.feature_names
    if names is None or ndim != 2 or len(names) != count:
        return [f"feature {i}" for i in range(count)]
    return [str(name) for name in names]


def _table(
    explanation: Any, names: list[str], order: np.ndarray, values: np.ndarray, k: int
) -> str:
    heads = ["feature", "mean |value|", "mean value", "lowest", "highest"]
    chosen = values[:, order]
    columns = [np.abs(chosen).mean(0), chosen.mean(0), chosen.min(0), chosen.max(0)]
    if explanation.error_std is not None:
        heads.append("standard error")
        error = np.asarray(explanation.error_std)
        error = error[..., k] if error.ndim > 2 else error
        columns.append(error[:, order].mean(axis=0))
    cells = [
        "".join(f"<td>{text}</td>" for text in (escape(names[i]), *numbers(*row)))
        for i, row in zip(order, zip(*columns, strict=True), strict=True)
    ]
    head = "".join(f"<th>{text}</th>" for text in heads)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _texts(explanation: Any, shown: Shown, tokens: Any, max_rows: int) -> Iterator[str]:
    for output in range(shown.num_outputs):
        written = plots.text_html(
            explanation, tokens=tokens, output=output, max_rows=max_rows
        )
        yield _section("Single texts", written)


def _single(
    explanation: Any, shown: Shown, max_rows: int, max_features: int
) -> Iterator[str]:
    """How the outputs of the first rows came about."""
    for row in range(min(max_rows, len(shown.values))):
        content = ""
        for output in range(shown.num_outputs):
            caption = escape(shown.caption(row, output))
            if shown.values.ndim == 4:
                figure = plots.sequence(explanation, row=row, output=output)
            else:
                figure = _waterfall(explanation, shown, row, output, max_features)
            content += f"<h3>{caption}</h3>{_picture(figure, caption)}"
        yield _section(f"Row {row}", content)


def _waterfall(
    explanation: Any, shown: Shown, row: int, output: int, max_features: int
) -> Any:
    kind = type(explanation)
    alone = kind(
        shown.values[row, :, output],
        base_values=float(np.nan_to_num(shown.base[row, output])),
        data=None if shown.data is None else np.asarray(shown.data)[row],
        feature_names=_feature_names(explanation, shown.values.shape[1], 2),
    )
    pyplot().figure()
    shap = import_extra("shap", "explain")
    return shap.plots.waterfall(alone, max_display=max_features, show=False).figure


def _picture(figure: Any, text: str) -> str:
    """A figure as an image that is in the page itself; the figure is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, bbox_inches="tight", facecolor="white")
    pyplot().close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'


def _section(head: str, content: str) -> str:
    return f"<section><h2>{escape(head)}</h2>{content}</section>"
