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
