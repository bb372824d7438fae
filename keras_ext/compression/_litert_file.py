"""Files of LiteRT: what is in them, and running them."""

import gzip
import re
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._described import Described
from keras_ext._core._extras import import_extra
from keras_ext._core._typing import Data, Record


class LiteRTFile(Described):
    """A `.tflite` file, as an interpreter runs it on this machine.

    What the file takes and gives in integers is taken and given as floats here. It is
    run by ai-edge-litert (`pip install "keras-ext[compression]"`) if that is installed,
    and by the interpreter in TensorFlow if not.

    Args:
        path: The file.

    Attributes:
        num_bytes: The size of the file.
        num_gzip_bytes: Its size compressed by gzip, which is what a download takes.
        num_int8_tensors: How many of its tensors are of 8 bits.
        num_float_tensors: How many are of floats: none in a file in whole numbers.

    Raises:
        ValueError: If there is no such file.

    Examples:
        >>> import pathlib, tempfile
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> path = pathlib.Path(tempfile.mkdtemp(), "model.tflite")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> report = kx.compression.to_litert(model, path)
        >>> file = kx.compression.LiteRTFile(path)
        >>> x = np.ones((3, 4), "float32")
        >>> bool(np.allclose(file.predict(x), model(x), atol=1e-6))
        True
    """

    def __init__(self, path: str | Path) -> None:
        is_file = isinstance(path, str | Path) and Path(path).is_file()
        require(is_file, "path", path, "a .tflite file")
        content = Path(path).read_bytes()
        self.num_bytes = len(content)
        self.num_gzip_bytes = len(gzip.compress(content, 9, mtime=0))
        self._interpreter = _interpreter(content)
        self._interpreter.allocate_tensors()
        details = self._interpreter.get_tensor_details()
        self.num_int8_tensors = sum(d["dtype"] is np.int8 for d in details)
        self.num_float_tensors = sum(d["dtype"] is np.float32 for d in details)

    def predict(
        self, x: Data, *, batch_size: int = 32
    ) -> np.ndarray | list[np.ndarray]:
        """Returns what the file makes of rows, an array or, of several, a list.

        Args:
            x: An array, or a list of arrays for a model with several inputs.
            batch_size: How many rows are run at once. Defaults to `32`.
        """
        inputs = [np.asarray(rows) for rows in keras.tree.flatten(x)]
        expected = len(self._interpreter.get_input_details())
        rule = f"{expected} arrays, one for each input"
        require(len(inputs) == expected, "x", x, rule)
        batches = [
            self._run([rows[i : i + batch_size] for rows in inputs])
            for i in range(0, len(inputs[0]), batch_size)
        ]
        outputs = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
        return outputs[0] if len(outputs) == 1 else outputs

    def _run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        interpreter = self._interpreter
        places = _in_order(interpreter.get_input_details())
        for place, rows in zip(places, inputs, strict=True):
            if tuple(place["shape"]) != rows.shape:
                interpreter.resize_tensor_input(place["index"], rows.shape)
        # A new shape invalidates all tensors, so that this comes before any is set.
        interpreter.allocate_tensors()
        for place, rows in zip(places, inputs, strict=True):
            interpreter.set_tensor(place["index"], _encoded(rows, place))
        interpreter.invoke()
        return [
            _decoded(interpreter.get_tensor(place["index"]), place)
            for place in _in_order(interpreter.get_output_details())
        ]


def _interpreter(content: bytes) -> Any:
    try:
        module = import_extra("ai_edge_litert.interpreter", "compression")
    except ImportError:
        with warnings.catch_warnings():
            # That it will be removed; the extra has the one that stays.
            warnings.simplefilter("ignore")
            return tf.lite.Interpreter(model_content=content)
    return module.Interpreter(model_content=content)


def _in_order(details: list[Record]) -> list[Record]:
    """Those of several inputs or outputs are numbered in their names."""
    return sorted(
        details, key=lambda d: [int(n) for n in re.findall(r"\d+", d["name"])]
    )


def _encoded(rows: np.ndarray, place: Record) -> np.ndarray:
    scale, zero = place["quantization"]
    # The scale of a tensor that is not quantized is 0.
    if not scale:
        return rows.astype(place["dtype"])
    bounds = np.iinfo(place["dtype"])
    levels = np.round(rows / scale) + zero
    return np.clip(levels, bounds.min, bounds.max).astype(place["dtype"])


def _decoded(values: np.ndarray, place: Record) -> np.ndarray:
    scale, zero = place["quantization"]
    if not scale:
        return values
    # In float32 first: the difference may overflow 8 bits.
    return ((values.astype("float32") - zero) * scale).astype("float32")
