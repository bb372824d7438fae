"""Writes the rows of a `GradientMonitor` to files."""

import csv
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from keras_ext._core._checks import cut, require
from keras_ext._core._extras import import_extra
from keras_ext._core._typing import Record
from keras_ext.signals.gradients._layer_statistics import HISTOGRAM_EDGES

EXTRA = "telemetry"
# The first columns of a file.
_HEAD = ("update", "epoch", "layer")


class Writer(Protocol):
    """Takes rows as they come."""

    def write(self, rows: Record) -> None:
        """Takes some rows."""

    def restore(self, rows: Record) -> None:
        """Takes the rows that were written before a training went on."""

    def flush(self) -> None:
        """Sees to it that they are on disk."""

    def close(self) -> None:
        """Ends the file."""


def joined_rows(chunks: Sequence[Record]) -> Record:
    """The rows of several chunks in one."""
    plain = ("update", "epoch", "histograms")
    by_quantity = ("global", "per_layer")
    return {
        **{name: np.concatenate([c[name] for c in chunks]) for name in plain},
        **{
            name: {
                q: np.concatenate([c[name][q] for c in chunks]) for q in chunks[0][name]
            }
            for name in by_quantity
        },
        "layers": chunks[-1]["layers"],
    }


def open_writers(
    path: str | Path | None,
    tensorboard: str | Path | None,
    append: bool,
    quantities: Sequence[str],
) -> list[Writer]:
    """Returns the writers that are asked for; what cannot be opened raises.

    Args:
        path: A file for the rows, or None.
        tensorboard: A folder, or None.
        append: Whether to add to a file that exists.
        quantities: What will be written of all layers together.
    """
    writers: list[Writer] = []
    if path is not None:
        columns = [*_HEAD, *quantities]
        kind = _Csv if Path(path).suffix == ".csv" else _Parquet
        writers.append(_Enduring(kind(Path(path), append, columns), path))
    if tensorboard is not None:
        writers.append(_Enduring(_TensorBoard(str(tensorboard)), tensorboard))
    return writers


# pyarrow's errors of files are OSErrors, too.
_FAILURES = (OSError, tf.errors.OpError)


class _Enduring:
    """Gives up a file that cannot be written, such as on a full disk, but no training.

    The first failure warns, and nothing is written afterwards: what comes after a gap
    would be taken for the whole.
    """

    def __init__(self, writer: Writer, place: str | Path) -> None:
        self._writer, self._place = writer, place
        self._failed = False

    def write(self, rows: Record) -> None:
        self._try(lambda: self._writer.write(rows))

    def restore(self, rows: Record) -> None:
        self._try(lambda: self._writer.restore(rows))

    def flush(self) -> None:
        self._try(self._writer.flush)

    def close(self) -> None:
        self._try(self._writer.close)

    def _try(self, action: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            action()
        except _FAILURES as error:
            self._failed = True
            warnings.warn(
                f"GradientMonitor could not write to {str(self._place)!r}, and does "
                f"not try again; training goes on. {type(error).__name__}: "
                f"{cut(str(error), 200)} `history` has all rows.",
                stacklevel=3,
            )
            # Closing writes what is left, or tries to.
            with suppress(*_FAILURES):
                self._writer.close()


def _lines(rows: Record) -> Iterator[Record]:
    """One line for each layer, and a last one for all."""
    for i, (update, epoch) in enumerate(
        zip(rows["update"], rows["epoch"], strict=True)
    ):
        head = {"update": int(update), "epoch": int(epoch)}
        for j, layer in enumerate(rows["layers"]):
            values = {
                q: _decimal(rows["per_layer"][q][i, j])
                if q in rows["per_layer"]
                else np.nan
                for q in rows["global"]
            }
            yield {**head, "layer": layer, **values}
        values = {q: _decimal(row[i]) for q, row in rows["global"].items()}
        yield {**head, "layer": "", **values}


def _decimal(value: np.floating) -> float:
    """The shortest decimals that are this float32."""
    return float(str(value))


def _require_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    """Raises if a file that is to be added to has other columns."""
    require(
        set(found) == set(wanted),
        "append",
        True,
        f"False for {str(path)!r}, which has other columns",
        hint=f"They differ in {sorted(set(found) ^ set(wanted))[:6]}.",
    )


def _number_kept(updates: Sequence[object], rows: Record) -> int:
    """How many lines of a file were written when a training that goes on was saved.

    Those behind are of updates that will be made again.
    """
    last = rows["update"][-1]
    places = [i for i, update in enumerate(updates) if int(str(update)) == last]
    return places[-1] + 1 if places else 0


class _Csv:
    def __init__(self, path: Path, append: bool, columns: Sequence[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._columns = columns
        self._appends = append
        self._has_header = False
        if append and path.exists():
            with path.open("r", newline="") as file:
                found = next(csv.reader(file), None)
            if found is not None:
                _require_columns(path, found, columns)
                self._columns, self._has_header = found, True
        self._file = path.open("a" if append else "w", newline="")

    def write(self, rows: Record) -> None:
        writer = csv.writer(self._file)
        if not self._has_header:
            writer.writerow(self._columns)
            self._has_header = True
        for line in _lines(rows):
            writer.writerow(line[name] for name in self._columns)
        self._file.flush()

    def restore(self, rows: Record) -> None:
        kept = self._cut(rows) if self._appends else 0
        if not kept:
            self.write(rows)

    def _cut(self, rows: Record) -> int:
        """Takes off what will be written again; returns how many lines are left."""
        with self._path.open("r", newline="") as file:
            header, *lines = list(csv.reader(file)) or [[]]
        place = self._columns.index("update")
        kept = _number_kept([line[place] for line in lines], rows)
        if kept and kept < len(lines):
            self._file.close()
            self._file = self._path.open("w", newline="")
            csv.writer(self._file).writerows([header, *lines[:kept]])
        return kept

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._file.close()


class _Parquet:
    """Such a file can only be written as a whole."""

    def __init__(self, path: Path, append: bool, columns: Sequence[str]) -> None:
        self._arrow = import_extra("pyarrow", EXTRA)
        self._parquet = import_extra("pyarrow.parquet", EXTRA)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._columns = list(columns)
        self._tables = []
        self._appends = append
        if append and path.exists():
            table = self._parquet.read_table(path)
            _require_columns(path, table.column_names, columns)
            self._tables.append(table.select(columns))

    def write(self, rows: Record) -> None:
        table = self._arrow.Table.from_pylist(list(_lines(rows)))
        self._tables.append(table.select(self._columns))

    def restore(self, rows: Record) -> None:
        kept = 0
        if self._appends and self._tables:
            (table,) = self._tables
            kept = _number_kept(table["update"].to_pylist(), rows)
            self._tables = [table.slice(0, kept or len(table))]
        if not kept:
            self.write(rows)

    def flush(self) -> None:
        if self._tables:
            self._tables = [self._arrow.concat_tables(self._tables)]
            # A file that is whole, or that of the epoch before.
            part = self._path.with_name(self._path.name + ".part")
            self._parquet.write_table(self._tables[0], part)
            part.replace(self._path)

    def close(self) -> None:
        self.flush()


class _TensorBoard:
    def __init__(self, folder: str) -> None:
        import_extra("tensorboard", EXTRA)
        # This tells TensorBoard to draw a tensor as a histogram.
        plugin = import_extra("tensorboard.plugins.histogram.metadata", EXTRA)
        self._metadata = plugin.create_summary_metadata(None, None)
        self._writer = tf.summary.create_file_writer(folder)

    def write(self, rows: Record) -> None:
        with self._writer.as_default():
            for line in _lines(rows):
                step, layer = line["update"], line["layer"] or "all"
                for quantity, value in list(line.items())[len(_HEAD) :]:
                    if np.isfinite(value):
                        tf.summary.scalar(f"{quantity}/{layer}", value, step=step)
            for step, layers in zip(rows["update"], rows["histograms"], strict=True):
                # Not strict: without histograms there are no counts at all.
                for layer, counts in zip(rows["layers"], layers, strict=False):
                    # The first count is of zeros, which have no logarithm.
                    self._histogram(f"log10_gradient/{layer}", counts[1:], int(step))

    def _histogram(self, tag: str, counts: np.ndarray, step: int) -> None:
        present = np.flatnonzero(counts)
        if not len(present):
            return
        edges = HISTOGRAM_EDGES
        buckets = np.stack([edges[:-1], edges[1:], counts], axis=1)
        buckets = buckets[present[0] : present[-1] + 1]
        tf.summary.write(tag, buckets, step=step, metadata=self._metadata)

    def restore(self, rows: Record) -> None:
        """Does nothing: TensorBoard adds what it finds in all files of a folder."""

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
