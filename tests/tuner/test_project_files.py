"""Files that are whole at every moment."""

import json
import os

import pytest

from keras_ext.tuner import _project_files
from keras_ext.tuner._project_files import read_json, write_json


def test_content_comes_back_and_nothing_lies_around(tmp_path):
    path = str(tmp_path / "a.json")
    write_json(path, {"a": [1, 2.5, None]})
    assert read_json(path) == {"a": [1, 2.5, None]}
    assert os.listdir(tmp_path) == ["a.json"]


def test_what_fails_on_the_way_leaves_the_old_content(tmp_path, monkeypatch):
    """On stock 1.4.8 the file is opened first, and then empty."""
    path = str(tmp_path / "a.json")
    write_json(path, [1])

    def full(source, target):
        raise OSError("No space left on device")

    monkeypatch.setattr(_project_files.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_json(path, [2])
    assert read_json(path) == [1]
    assert os.listdir(tmp_path) == ["a.json"]
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == [1]


def test_no_file_and_half_a_file_are_none(tmp_path):
    path = tmp_path / "a.json"
    assert read_json(str(path)) is None
    for text in ("", json.dumps({"a": 1})[:-1]):
        path.write_text(text)
        assert read_json(str(path)) is None
