"""The files of a search, written so that no moment leaves half of one."""

import contextlib
import json
import os
from typing import Any

from keras_tuner.src import utils


def write_json(path: str, content: object) -> None:
    """Replaces a file as a whole: a reader sees the old content or the new one.

    KerasTuner opens the file and writes; a process that dies in between leaves a file
    of no bytes, and a project that cannot be opened.
    """
    if "://" in path:  # object stores replace files as a whole
        utils.save_json(path, content)
        return
    text = json.dumps(content)
    # In the same folder: `os.replace` is atomic within one file system alone.
    beside = f"{path}.{os.getpid()}.tmp"
    try:
        with open(beside, "w") as file:
            file.write(text)
        os.replace(beside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(beside)


def read_json(path: str) -> Any:
    """The content of a file, or None if there is none or it is not whole."""
    try:
        return utils.load_json(path)
    except (ValueError, OSError):
        return None
    except Exception as error:  # TensorFlow's own, of paths such as gs://
        if type(error).__name__ != "NotFoundError":
            raise
        return None
