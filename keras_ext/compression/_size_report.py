"""What a model and its files take."""

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_ext._anatomy._flops import flops
from keras_ext._anatomy._input_rows import as_model_takes, input_rows
from keras_ext._core._checks import integer, require
from keras_ext._core._figures import BAR, INK, NEUTRAL, new_figure, plain
from keras_ext._core._pages import picture, require_page, section, table, write_page
from keras_ext._core._progress import Progress
from keras_ext._core._tables import html_table
from keras_ext._core._timing import milliseconds
from keras_ext._core._typing import Data, Figure, Shape
from keras_ext.compression._class_scores import ends_of
from keras_ext.compression._litert_file import LiteRTFile

# Rows that are run together.
_BATCH = 32


@dataclass(frozen=True)
class SizeRow:
    """What one form of a model takes.

    Attributes:
        name: Which.
        num_bytes: Its size.
        num_gzip_bytes: Its size compressed by gzip.
        milliseconds: The median time of a prediction for one row; None if not measured.
        spread: Half of the range that the middle half of the times is in.
        accuracy: The share of rows whose largest output is right; None without labels.
    """

    name: str
    num_bytes: int
    num_gzip_bytes: int
    milliseconds: float | None
    spread: float | None
    accuracy: float | None


@dataclass(frozen=True)
class SizeReport:
    """How large a model and its files are, how fast and how accurate.

    It prints as a table. `size_report` makes it; you need not.

    Args:
        num_parameters: How many numbers the weights of the model are.
        num_zeros: How many of these are zero.
        rows: For the weights in floats and for each file its `name`, `num_bytes`,
            `num_gzip_bytes`, `milliseconds` with their `spread`, and `accuracy`.
        num_flops: How many multiplications and additions a row takes; None if that is
            not known.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> report = kx.compression.prune(model, 0.5)
        >>> print(kx.compression.size_report(model))
        36 parameters, 20 zeros, 64 FLOPs a row
        form         bytes   gzip
        Keras float    144    ...
    """

    num_parameters: int
    num_zeros: int
    rows: Sequence[SizeRow]
    num_flops: int | None = None

    def __post_init__(self) -> None:
        integer(self.num_flops, "num_flops", low=0, optional=True)
        integer(self.num_parameters, "num_parameters", low=0)
        integer(self.num_zeros, "num_zeros", low=0)
        valid = isinstance(self.rows, list | tuple)
        valid = valid and all(isinstance(row, SizeRow) for row in self.rows)
        require(valid, "rows", self.rows, "a list of rows, one for each form")

    def _table(self) -> list[list[str]]:
        table = [["form", "bytes", "gzip", "ms a row", "accuracy"]]
        for row in self.rows:
            cells = [row.name, f"{row.num_bytes:,}", f"{row.num_gzip_bytes:,}"]
            timed = row.milliseconds is not None
            cells.append(f"{row.milliseconds:.3f} ± {row.spread:.3f}" if timed else "")
            known = row.accuracy is not None
            cells.append(f"{row.accuracy:.4f}" if known else "")
            table.append(cells)
        # Without rows all the heads stay.
        body = table[1:] or table
        filled = [any(row[i] for row in body) for i in range(len(table[0]))]
        return [[c for c, keep in zip(r, filled, strict=True) if keep] for r in table]

    @property
    def summary(self) -> str:
        """The numbers of the model in a line."""
        line = f"{self.num_parameters:,} parameters, {self.num_zeros:,} zeros"
        known = self.num_flops is not None
        return f"{line}, {self.num_flops:,} FLOPs a row" if known else line

    def __str__(self) -> str:
        rows = self._table()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [self.summary]
        for first, *others in rows:
            cells = [first.ljust(widths[0])]
            cells += [c.rjust(w) for c, w in zip(others, widths[1:], strict=True)]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self._table(), above=self.summary)

    def plot(self) -> Figure:
        """Returns a picture of the sizes, with the accuracies beside them.

        Raises:
            ImportError: If Matplotlib is not installed.
        """
        size = (7, 2 * BAR * len(self.rows) + 0.9)
        figure, axes = new_figure(extra="compression", size=size)
        places = np.arange(len(self.rows))
        for offset, color, label, name in (
            (-0.18, "#b8c2d6", "as it is", "num_bytes"),
            (0.18, NEUTRAL, "gzip", "num_gzip_bytes"),
        ):
            lengths = [getattr(row, name) / 1000 for row in self.rows]
            bars = axes.barh(places + offset, lengths, 0.34, color=color, label=label)
            pairs = zip(self.rows, lengths, strict=True)
            packed = name == "num_gzip_bytes"
            texts = [_beside(row, length, packed) for row, length in pairs]
            axes.bar_label(bars, texts, padding=4, fontsize=8, color=INK)
        axes.set_yticks(places, [plain(row.name) for row in self.rows], fontsize=9)
        axes.invert_yaxis()
        axes.margins(x=0.2)
        axes.set_xlabel("kilobytes", fontsize=9, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False)
        return figure

    def save(self, path: str | Path, *, title: str = "Sizes") -> None:
        """Writes the table and the picture as one page of HTML.

        Args:
            path: Where to write it, such as `"sizes.html"`.
            title: The title of the page. Defaults to `"Sizes"`.

        Raises:
            ValueError: If an argument is not of this form.
            ImportError: If Matplotlib is not installed.
        """
        require_page(path, title)
        (_, *heads), *rows = self._table()
        labels = [row[0] for row in rows]
        listed = table(["form", *heads], labels, [row[1:] for row in rows])
        drawn = picture(self.plot(), "sizes of all forms")
        parts = [section("What they take", drawn), section("In numbers", listed)]
        foot = "Times are medians for one row on the machine that measured them."
        facts = [self.summary]
        write_page(path, title=title, facts=facts, sections=parts, footer=foot)


def _beside(row: SizeRow, length: float, packed: bool) -> str:
    # Both bars of a row come here, and the accuracy stands at that of gzip alone.
    shown = f"{length:,.1f}"
    if not packed or row.accuracy is None:
        return shown
    return f"{shown}, {row.accuracy:.1%} right"


def size_report(
    model: keras.Model,
    *,
    before: keras.Model | None = None,
    files: Mapping[str, str | Path] | None = None,
    x: Data = None,
    y: Data = None,
    repeats: int = 50,
) -> SizeReport:
    """Measures the size and speed of a model and of its files.

    Sizes are those of the weights alone, in floats and without the optimizer, and of
    whole files; gzip shows what zeros and few values are worth in a download.

    Args:
        model: A built model.
        before: The model that it was made from, to compare with. None means without.
        files: From names to `.tflite` files, as `to_litert` writes them. None means
            none.
        x: Rows, to measure times and accuracies with; for several inputs a list or a
            dictionary of arrays. None means neither.
        y: Their labels, integers, for the accuracies of models that give a number for
            each of several classes, or a single one for the answers 0 and 1: the
            probability of 1 if the model ends with a sigmoid, and otherwise its logit.
            None means without.
        repeats: Integer >= 3, how many predictions of one row are timed. Defaults to
            `50`.

    Returns:
        The report.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import pathlib, tempfile
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> path = pathlib.Path(tempfile.mkdtemp(), "model.tflite")
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> report = kx.compression.to_litert(model, path)
        >>> x = np.ones((5, 8), "float32")
        >>> sizes = kx.compression.size_report(
        ...     model, files={"float32": path}, x=x, repeats=3
        ... )
        >>> [(row.name, row.milliseconds > 0) for row in sizes.rows]
        [('Keras float', True), ('float32', True)]
    """
    _require_built(model, "model")
    files = {} if files is None else files
    valid = isinstance(files, Mapping)
    valid = valid and all(isinstance(path, str | Path) for path in files.values())
    require(valid, "files", files, "a dictionary of paths, or None")
    repeats = integer(repeats, "repeats", low=3)
    rows_of_x, count = _rows(x)
    labels = None if y is None else np.asarray(y)
    fits = x is not None and (labels is None or labels.shape in ((count,), (count, 1)))
    rule = "a vector with an integer for each row of `x`, or None"
    require(labels is None or fits, "y", y, rule)
    labels = None if labels is None else labels.reshape(count)
    measure = _Measure(rows_of_x, labels, repeats, _cut(model, labels))
    models = {"Keras float": model}
    if before is not None:
        _require_built(before, "before")
        models = {"before": before, **models}
    rows, count = [], len(models) + len(files)
    progress = Progress(shorter="Fewer rows or `repeats` make it shorter.")
    for name, one in models.items():
        rows.append(_row_of_model(measure, one, name))
        progress(len(rows), count)
    for name, path in files.items():
        file = LiteRTFile(path)
        row = measure.row(name, file.num_bytes, file.num_gzip_bytes, file.predict)
        rows.append(row)
        progress(len(rows), count)
    weights = [keras.ops.convert_to_numpy(w) for w in model.weights]
    size = sum(w.size for w in weights)
    zeros = size - sum(int(np.count_nonzero(w)) for w in weights)
    return SizeReport(size, zeros, rows, flops(model))


def gives_classes(shape: Shape) -> bool:
    """Whether outputs of this shape are a number for each of several classes."""
    # Of a single output the largest would always be the first.
    return len(shape) == 2 and (shape[1] or 0) > 1


def gives_an_answer(model: keras.Model, labels: np.ndarray) -> bool:
    """Whether a model gives a single number, and the labels are 0 and 1."""
    outputs = getattr(model, "outputs", None) or []
    single = len(outputs) == 1 and tuple(outputs[0].shape[1:]) == (1,)
    return single and bool(np.isin(labels, (0, 1)).all())


def _cut(model: keras.Model, labels: np.ndarray | None) -> float | None:
    """Above which number such a model says 1; None of other models."""
    if labels is None or not gives_an_answer(model, labels):
        return None
    return 0.5 if ends_of(model) == ["sigmoid"] else 0.0


def _rows(x: Data) -> tuple[Data, int]:
    """Arrays in the structure that they are given in, and how many rows they have."""
    if x is None:
        return None, 0
    leaves = keras.tree.flatten(x)
    several = not hasattr(x, "shape") and all(hasattr(a, "shape") for a in leaves)
    # A list of numbers is an array, too.
    arrays = keras.tree.map_structure(np.asarray, x) if several else np.asarray(x)
    leaves = keras.tree.flatten(arrays)
    least = 0 if len(leaves) > 1 else 1
    fits = bool(leaves) and all(a.ndim > least for a in leaves)
    fits = fits and len({len(a) for a in leaves}) == 1 and len(leaves[0]) > 0
    rule = "an array with rows, several of them with as many each, or None"
    require(fits, "x", x, rule)
    return arrays, len(leaves[0])


def _require_built(model: keras.Model, name: str) -> None:
    require(isinstance(model, keras.Model), name, model, "a keras.Model")
    require(model.built, name, model.name, "a built model")


def _row_of_model(measure: "_Measure", model: keras.Model, name: str) -> SizeRow:
    weights = [keras.ops.convert_to_numpy(w) for w in model.weights]
    content = b"".join(w.tobytes() for w in weights)

    def in_keras(rows: Data) -> Data:
        if getattr(model, "inputs", None):
            rows = as_model_takes(model, input_rows(model, rows, "x"))
        # As files do, since the activations of all rows may not fit into memory.
        count = len(keras.tree.flatten(rows)[0])
        parts = [_given(model, rows, i) for i in range(0, count, _BATCH)]
        return keras.tree.map_structure(lambda *p: np.concatenate(p), *parts)

    packed = len(gzip.compress(content, 9, mtime=0))
    return measure.row(name, len(content), packed, in_keras)


def _given(model: keras.Model, rows: Data, first: int) -> Data:
    """What a model gives for the batch that begins with a row."""
    part = keras.tree.map_structure(lambda x: x[first : first + _BATCH], rows)
    outputs = model(part, training=False)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


@dataclass
class _Measure:
    """Measures a function from rows to outputs."""

    x: Data
    y: np.ndarray | None
    repeats: int
    cut: float | None

    def row(
        self,
        name: str,
        size: int,
        packed: int,
        predict: Callable[[Data], Data],
    ) -> SizeRow:
        if self.x is None:
            return SizeRow(name, size, packed, None, None, None)
        row = keras.tree.map_structure(lambda rows: rows[:1], self.x)
        middle, spread = milliseconds(lambda: predict(row), self.repeats)
        right = None
        if self.y is not None:
            right = float(np.mean(self._answers(predict(self.x)) == self.y))
        return SizeRow(name, size, packed, middle, spread, right)

    def _answers(self, outputs: Data) -> np.ndarray:
        if self.cut is not None:
            return outputs.reshape(-1) > self.cut
        rule = "None for outputs that are neither of the shape (rows, classes) nor a "
        rule += "single number for labels of 0 and 1"
        require(gives_classes(getattr(outputs, "shape", ())), "y", self.y, rule)
        return outputs.argmax(-1)
