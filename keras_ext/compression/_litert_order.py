"""In which order a model takes what a `.tflite` file knows by names.

The names of several inputs are all that the file has: the converter puts them in an
order of its own. So the order is put behind its end, in an archive as LiteRT's own
metadata uses it. What runs the file does not look there.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

_PLACE = "keras_ext/inputs.json"


def write_order(path: str | Path, names: Sequence[str]) -> None:
    """Adds the names of the inputs, in their order, to a file.

    Args:
        path: The file.
        names: The names.
    """
    with zipfile.ZipFile(path, "a") as archive:
        # Of a fixed date, so that the same model gives the same file.
        archive.writestr(zipfile.ZipInfo(_PLACE), json.dumps(list(names)))


def read_order(content: bytes) -> list[str] | None:
    """The names in their order; None if they are not in a file.

    Args:
        content: What the file contains.
    """
    stream = io.BytesIO(content)
    if not zipfile.is_zipfile(stream):
        return None
    with zipfile.ZipFile(stream) as archive:
        if _PLACE not in archive.namelist():
            return None
        names: list[str] = json.loads(archive.read(_PLACE))
    return names
