"""What a worker that is not the chief does with its files; real ones are elsewhere."""

import json

import keras
import numpy as np
import pytest

from keras_ext._keras._chief_files import only_chief_writes
from keras_ext.callbacks import GradientMonitor
from tests.thorough import LONG

X = np.ones((8, 2), "float32")


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def callbacks_in(folder):
    return [
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
        keras.callbacks.BackupAndRestore(folder / "backup", save_freq=1),
        keras.callbacks.CSVLogger(folder / "log.csv"),
        keras.callbacks.TensorBoard(folder / "board"),
    ]


@pytest.mark.thorough(LONG)
def test_nothing_is_written_where_it_was_asked_for(model, tmp_path):
    callbacks = callbacks_in(tmp_path)
    attributes = [dict(vars(c)) for c in callbacks]
    with only_chief_writes():
        model.fit(X, X[:, :1], epochs=2, callbacks=callbacks, verbose=0)
        model.fit(X, X[:, :1], epochs=2, callbacks=callbacks, verbose=0)
        model.save(tmp_path / "model.keras")
        model.export(tmp_path / "exported", verbose=False)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    # Afterwards the callbacks write to where they did before.
    for callback, before in zip(callbacks, attributes, strict=True):
        for name in ("filepath", "backup_dir", "filename", "log_dir", "on_epoch_end"):
            assert vars(callback).get(name) == before.get(name)


def test_afterwards_all_is_as_before(model, tmp_path):
    before = keras.Model.save, keras.callbacks.CallbackList.set_model
    with only_chief_writes():
        assert keras.Model.save is not before[0]
    assert (keras.Model.save, keras.callbacks.CallbackList.set_model) == before
    model.save(tmp_path / "model.keras")
    assert (tmp_path / "model.keras").is_file()


def test_it_goes_on_from_what_the_chief_has_saved(model, tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(
            tmp_path / "backup", delete_checkpoint=False
        )

    model.fit(X, X[:, :1], epochs=2, callbacks=[backup()], verbose=0)
    found = sorted(p.stat().st_mtime_ns for p in (tmp_path / "backup").iterdir())
    with only_chief_writes():
        again = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        again.compile("sgd", "mse")
        history = again.fit(X, X[:, :1], epochs=3, callbacks=[backup()], verbose=0)
    assert history.epoch == [2]
    after = sorted(p.stat().st_mtime_ns for p in (tmp_path / "backup").iterdir())
    assert found == after


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.thorough(LONG)
def test_gradient_monitor(model, tmp_path, monkeypatch, index):
    config = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    monitor = GradientMonitor(path=tmp_path / "gradients.csv")
    model.fit(X, X[:, :1], callbacks=[monitor], verbose=0)
    assert (tmp_path / "gradients.csv").exists() == (index == 0)
