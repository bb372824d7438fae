"""Files that fill a disk in the middle of a training."""

import errno
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.callbacks import GradientMonitor
from keras_ext.callbacks.gradients import _gradient_records
from tests.thorough import LONG

X = np.ones((12, 2), "float32")


def full(*arguments, **keywords):
    raise OSError(errno.ENOSPC, "No space left on device")


def is_full(*arguments, **keywords):
    raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")


def fit(**options):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    monitor = GradientMonitor(every=1, **options)
    model.fit(X, X[:, :1], epochs=3, batch_size=6, callbacks=[monitor], verbose=0)
    return monitor


def fill_csv(monkeypatch, place):
    if Path("/dev/full").exists():  # a disk that is full
        (place / "rows.csv").symlink_to("/dev/full")
        return
    opened = Path.open

    def open_full(path, mode, newline):
        file = opened(path, mode, newline=newline)
        file.flush = full
        return file

    monkeypatch.setattr(Path, "open", open_full)


def fill_parquet(monkeypatch, place):
    parquet = pytest.importorskip("pyarrow.parquet")
    write, times = parquet.write_table, []

    def write_once(table, path):
        times.append(path)
        write(table, path)
        if len(times) > 1:
            full()

    monkeypatch.setattr(parquet, "write_table", write_once)


def fill_tensorboard(monkeypatch, place):
    kind = _gradient_records._TensorBoard
    monkeypatch.setattr(kind, "flush", is_full)
    monkeypatch.setattr(kind, "close", is_full)


@pytest.mark.parametrize(
    ("fill", "name"),
    [
        (fill_csv, "rows.csv"),
        (fill_parquet, "rows.parquet"),
        (fill_tensorboard, "board"),
    ],
)
@pytest.mark.thorough(LONG)
def test_a_full_disk_warns_once_and_training_goes_on(fill, name, tmp_path, monkeypatch):
    fill(monkeypatch, tmp_path)
    option = "tensorboard" if name == "board" else "path"
    with pytest.warns(UserWarning, match=rf"could not write to .*{name}") as caught:
        monitor = fit(**{option: tmp_path / name})
    (message,) = {str(w.message) for w in caught if w.category is UserWarning}
    assert "No space left on device" in message
    assert len([w for w in caught if str(w.message) == message]) == 1
    assert monitor.history["update"].tolist() == [1, 2, 3, 4, 5, 6]


def test_a_parquet_file_is_whole_or_as_before(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    fill_parquet(monkeypatch, tmp_path)
    with pytest.warns(UserWarning, match="could not write"):
        fit(path=tmp_path / "rows.parquet")
    assert set(parquet.read_table(tmp_path / "rows.parquet")["epoch"].to_pylist()) == {
        0
    }


def test_what_cannot_be_opened_ends_the_training_before_it_begins(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        fit(path=tmp_path / "file" / "rows.csv")


def rows_of(*updates):
    """Rows of one layer, of which all quantities are the number of the update."""
    values = np.array(updates, "float32")
    return {
        "update": np.array(updates),
        "epoch": np.array(updates) // 2,
        "layers": ["a"],
        "global": {"norm": values, "ratio": values},
        "per_layer": {"norm": values[:, None], "ratio": values[:, None]},
        "histograms": np.zeros((len(updates), 1, 0)),
    }


def written(path):
    if path.suffix == ".csv":
        return [line.split(",")[0] for line in path.read_text().split()[1:]]
    parquet = pytest.importorskip("pyarrow.parquet")
    return list(map(str, parquet.read_table(path)["update"].to_pylist()))


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_a_training_that_goes_on_replaces_what_it_does_again(name, tmp_path):
    def train(saved, *chunks):
        path = tmp_path / name
        (writer,) = _gradient_records.open_writers(path, None, True, ("norm", "ratio"))
        if saved is not None:
            writer.restore(saved)
        for chunk in chunks:
            writer.write(chunk)
        writer.close()
        # A line for the layer, and one for all.
        return written(path)[::2]

    # Another training stands there, which went as far.
    assert train(None, rows_of(1, 2, 3, 4)) == list("1234")
    assert train(None, rows_of(1, 2), rows_of(3)) == list("1234123")
    # Saved after the second update, and killed after the third.
    assert train(rows_of(1, 2), rows_of(3, 4)) == list("12341234")
    # The rows of a file that is gone are written again.
    (tmp_path / name).unlink()
    assert train(rows_of(1, 2), rows_of(3)) == list("123")


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_a_file_with_other_columns_is_not_added_to(name, tmp_path):
    path = tmp_path / name
    (writer,) = _gradient_records.open_writers(path, None, True, ("norm", "ratio"))
    writer.write(rows_of(1))
    writer.close()
    monitor = GradientMonitor(path=path, append=True)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"`append` must be False .* other columns"):
        model.fit(X, X[:, :1], callbacks=[monitor], verbose=0)
    assert type(model.optimizer) is keras.optimizers.SGD


def test_an_empty_file_gets_its_header(tmp_path):
    path = tmp_path / "rows.csv"
    path.touch()
    (writer,) = _gradient_records.open_writers(path, None, True, ("norm", "ratio"))
    writer.write(rows_of(1))
    writer.close()
    assert path.read_text().split()[0] == "update,epoch,layer,norm,ratio"
