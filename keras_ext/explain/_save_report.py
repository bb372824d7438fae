"""An explanation as a page that can be sent to somebody."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from keras_ext._core._checks import integer, require
from keras_ext._core._extras import import_extra
from keras_ext._core._figures import draw_bars, plain
from keras_ext._core._pages import picture, require_page, section, table, write_page
from keras_ext._core._typing import Data, Explanation, Figure
from keras_ext.explain import plots
from keras_ext.explain._drawing import Shown, numbers
from keras_ext.explain._report_figures import draw_swarm
from keras_ext.explain._report_words import words_of
from keras_ext.explain.plots._image_grid import image_figures

_FORM = "of features, sequences or images, (rows, ...), with or without outputs"


def save_report(
    explanation: Explanation,
    path: str | Path,
    *,
    title: str = "Explanation",
    max_rows: int = 5,
    max_features: int = 15,
    tokens: Sequence[Sequence[str]] | None = None,
    images: Data = None,
) -> None:
    """Writes an explanation as one HTML file, with everything in it.

    It shows which features matter over all rows, in bars, dots and numbers, and how the
    outputs of the first rows came about. Images are drawn as by `plots.image_grid`,
    sequences as by `plots.sequence`, and where there are `tokens` texts as by
    `plots.text_html`. The file needs no scripts and nothing from elsewhere.

    Args:
        explanation: A `shap.Explanation` of several rows.
        path: Where to write it, such as `"report.html"`.
        title: The title of the page. Defaults to `"Explanation"`.
        max_rows: Integer >= 1, how many rows are shown one by one. Defaults to `5`.
        max_features: Integer >= 1, how many features are shown; the others are
            added up. Defaults to `15`.
        tokens: What to write for the tokens of each row, if these are texts. None means
            that they are not.
        images: What to show of images. None means what the model was given.

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
    max_rows = integer(max_rows, "max_rows", low=1)
    max_features = integer(max_features, "max_features", low=1)
    require_page(path, title)
    kind = import_extra("shap", "explain").Explanation
    require(
        isinstance(explanation, kind), "explanation", explanation, "a shap.Explanation"
    )
    shown = Shown(explanation, (1, 2, 3), _FORM)
    sections: list[str] = []
    if tokens is not None:
        sections += _words(shown, tokens, max_features)
        sections += _texts(explanation, shown, tokens, max_rows)
    elif shown.values.ndim == 5:
        sections += _images(explanation, shown, images, max_rows)
    else:
        for output in range(shown.num_outputs):
            sections.append(_overall(explanation, shown, output, max_features))
        sections += _single(explanation, shown, max_rows, max_features)
    write_page(
        path,
        title=title,
        facts=_facts(explanation, shown),
        sections=sections,
        footer="Red raises an output, blue lowers it. The values of a row and the base "
        "value add up to its output.",
    )


def _facts(explanation: Explanation, shown: Shown) -> Iterator[str]:
    rows, *shape, outputs = shown.values.shape
    yield f"{rows} rows"
    yield f"{' × '.join(map(str, shape))} values each"
    if outputs > 1:
        yield f"{outputs} outputs"
    if explanation.compute_time is not None:
        yield f"computed in {explanation.compute_time:.2g} s"


def _overall(
    explanation: Explanation, shown: Shown, output: int, max_features: int
) -> str:
    """Features over all rows: bars, dots and numbers."""
    values = shown.values[..., output]
    # Of sequences, the steps of a feature are added up.
    sizes = np.abs(values).reshape(len(values), -1, values.shape[-1]).sum(axis=1)
    means = sizes.mean(axis=0)
    names = shown.features()
    order = np.argsort(-means, kind="stable")[:max_features]
    labels = [names[i] for i in order]
    content = _bars(labels, means[order], len(means), means.sum())
    if values.ndim == 2:
        data = None if shown.data is None else np.asarray(shown.data)[:, order]
        swarm = draw_swarm(labels, values[:, order], data)
        content += picture(swarm, "values of all rows")
        content += _table(explanation, labels, order, values, output)
    return section(f"What matters{_of(shown, output)}", content)


def _bars(labels: list[str], means: np.ndarray, count: int, total: float) -> str:
    """The largest as bars, and one for all others."""
    others = count - len(labels)
    bars = list(means)
    if others:
        labels = [*labels, f"{others} others"]
        bars.append(total - means.sum())
    drawn = draw_bars(
        labels,
        np.asarray(bars),
        label="mean |value|",
        extra="explain",
        others=bool(others),
    )
    return picture(drawn, "mean absolute values")


def _of(shown: Shown, output: int) -> str:
    """Of which output a title speaks, where there are several."""
    return f" for {shown.title(output)}" if shown.num_outputs > 1 else ""


def _table(
    explanation: Explanation,
    labels: list[str],
    order: np.ndarray,
    values: np.ndarray,
    k: int,
) -> str:
    heads = ["feature", "mean |value|", "mean value", "lowest", "highest"]
    chosen = values[:, order]
    columns = [np.abs(chosen).mean(0), chosen.mean(0), chosen.min(0), chosen.max(0)]
    if explanation.error_std is not None:
        heads.append("standard error")
        error = np.asarray(explanation.error_std)
        error = error[..., k] if error.ndim > 2 else error
        columns.append(error[:, order].mean(axis=0))
    rows = [numbers(*row) for row in zip(*columns, strict=True)]
    return table(heads, labels, rows)


def _words(
    shown: Shown, tokens: Sequence[Sequence[str]], max_features: int
) -> Iterator[str]:
    """Words over all texts: bars and numbers. Of a position, a mean says nothing."""
    for output in range(shown.num_outputs):
        words = words_of(tokens, shown, output)
        best = words[:max_features]
        sums = np.array([word.mean_size for word in best])
        labels = [word.text for word in best]
        total = sum(word.mean_size for word in words)
        content = _bars(labels, sums, len(words), total)
        heads = ["word", "times", "mean |value| of a text", "mean value of a word"]
        rows = [[str(len(w.values)), *numbers(w.mean_size, w.mean)] for w in best]
        content += table(heads, labels, rows)
        yield section(f"What matters{_of(shown, output)}", content)


def _texts(
    explanation: Explanation,
    shown: Shown,
    tokens: Sequence[Sequence[str]],
    max_rows: int,
) -> Iterator[str]:
    for output in range(shown.num_outputs):
        written = plots.text_html(
            explanation, tokens=tokens, output=output, max_rows=max_rows
        )
        yield section(f"Single texts{_of(shown, output)}", written)


def _images(
    explanation: Explanation, shown: Shown, images: Data, most: int
) -> Iterator[str]:
    """A picture for each row: with all rows in one, many outputs cannot be read."""
    rows = range(min(most, len(shown.values)))
    drawn = image_figures(explanation, images, [[row] for row in rows])
    for row, figure in zip(rows, drawn, strict=True):
        captions = [shown.caption(row, i) for i in range(shown.num_outputs)]
        yield section(f"Row {row}", picture(figure, "; ".join(captions)))


def _single(
    explanation: Explanation, shown: Shown, max_rows: int, max_features: int
) -> Iterator[str]:
    """How the outputs of the first rows came about."""
    for row in range(min(max_rows, len(shown.values))):
        content = ""
        for output in range(shown.num_outputs):
            caption = shown.caption(row, output)
            if shown.values.ndim == 4:
                figure = plots.sequence(explanation, row=row, output=output)
                figure.suptitle("")  # it stands above the picture
            else:
                figure = _waterfall(explanation, shown, row, output, max_features)
            content += f"<h3>{escape(caption)}</h3>{picture(figure, caption)}"
        yield section(f"Row {row}", content)


def _waterfall(
    explanation: Explanation, shown: Shown, row: int, output: int, max_features: int
) -> Figure:
    alone = type(explanation)(
        shown.values[row, :, output],
        base_values=float(np.nan_to_num(shown.base[row, output])),
        data=_written(shown.data, row),
        feature_names=[plain(name) for name in shown.features(row)],
    )
    pyplot = import_extra("matplotlib.pyplot", "explain")
    # shap draws on what pyplot has open.
    figure = pyplot.figure()
    try:
        shap = import_extra("shap", "explain")
        shap.plots.waterfall(alone, max_display=max_features, show=False)
    finally:
        pyplot.close(figure)
    return figure


def _written(data: Data, row: int) -> np.ndarray | None:
    """The data of a row, with texts such that they can be drawn."""
    if data is None:
        return None
    cells = np.asarray(data)[row]
    if cells.dtype.kind in "biuf":
        return cells
    return np.array([plain(c) if isinstance(c, str) else c for c in cells], object)
