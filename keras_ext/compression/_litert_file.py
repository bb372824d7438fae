"""Files of LiteRT: what is in them, and running them."""

import gzip
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_ext._anatomy._input_rows import has_shape, is_by_name, listed
from keras_ext._core._checks import integer, require
from keras_ext._core._described import Described
from keras_ext._core._extras import import_extra
from keras_ext._core._typing import Data, Record
from keras_ext.compression._litert_order import read_order

_FLOATS = (np.float16, np.float32, np.float64)


class LiteRTFile(Described):
    """A `.tflite` file, as an interpreter runs it on this machine.

    Integer inputs and outputs of the file are floats here. The interpreter is
    ai-edge-litert (`pip install "keras-ext[compression]"`) if that is installed, and
    otherwise that of TensorFlow.

    Args:
        path: The file.

    Attributes:
        num_bytes: The size of the file.
        num_gzip_bytes: Its size compressed by gzip, which is what a download takes.
        num_int8_tensors: How many of its tensors are of 8 bits.
        num_float_tensors: How many are of floats: none in a file in whole numbers.
        input_names: The names of the inputs, in the order of the model if
            `to_litert` has written the file.
        output_names: The names of what `predict` gives, in its order.

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
        self.path = str(path)
        content = Path(path).read_bytes()
        self.num_bytes = len(content)
        self.num_gzip_bytes = len(gzip.compress(content, 9, mtime=0))
        self._interpreter = _interpreter(content)
        self._interpreter.allocate_tensors()
        details = self._interpreter.get_tensor_details()
        self.num_int8_tensors = sum(d["dtype"] is np.int8 for d in details)
        self.num_float_tensors = sum(d["dtype"] in _FLOATS for d in details)
        self._inputs, self._outputs = _places(self._interpreter)
        order = read_order(content)
        self._has_order = order is not None or len(self._inputs) == 1
        self.input_names = order or list(self._inputs)
        self.output_names = _sorted_outputs(list(self._outputs))

    def predict(
        self, x: Data, *, batch_size: int = 32
    ) -> np.ndarray | list[np.ndarray] | dict[str, np.ndarray]:
        """Returns what the file makes of rows.

        That is an array; of several outputs a list or, where they have names, a
        dictionary.

        Args:
            x: An array. For a model with several inputs a dictionary from their names,
                or, for a file that `to_litert` has written, a list as the model takes
                it: other files do not say in which order.
            batch_size: Integer >= 1, how many rows are run at once. Defaults to `32`.
        """
        size = integer(batch_size, "batch_size", low=1)
        inputs = self._checked(x)
        count = len(inputs[0])
        if not count:
            # The interpreter runs no empty tensors: of a row of zeros nothing is kept.
            inputs = [np.zeros((1, *a.shape[1:]), a.dtype) for a in inputs]
        batches = [
            self._run([rows[i : i + size] for rows in inputs])
            for i in range(0, len(inputs[0]), size)
        ]
        parts = zip(*batches, strict=True)
        outputs = [np.concatenate(part)[:count] for part in parts]
        if len(outputs) == 1:
            return outputs[0]
        if _numbered(self.output_names):
            return outputs
        return dict(zip(self.output_names, outputs, strict=True))

    def _checked(self, x: Data) -> list[np.ndarray]:
        """The arrays, in the order of the names."""
        names = self.input_names
        rule = f"a dictionary with arrays for {names}"
        require(is_by_name(names, x) or self._has_order, "x", x, rule)
        arrays = listed(names, x)
        shapes = [self._shape(name) for name in names]
        fits = len(arrays) == len(names) and all(map(has_shape, arrays, shapes))
        fits = fits and len({len(a) for a in arrays}) == 1
        pairs = dict(zip(names, shapes, strict=True))
        # The interpreter would take other shapes, and make other rows of them.
        require(fits, "x", x, f"as many rows for each input, of the shapes {pairs}")
        return arrays

    def _shape(self, name: str) -> tuple[int | None, ...]:
        """The shape of an input, with None for what is not fixed."""
        place = self._inputs[name]
        # Files of older converters have none; then the shape is that of a single row.
        sizes = place.get("shape_signature", ())
        sizes = sizes if len(sizes) else place["shape"]
        return (None, *(None if n < 0 else int(n) for n in sizes[1:]))

    def _run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        interpreter = self._interpreter
        places = [self._inputs[name] for name in self.input_names]
        for place, rows in zip(places, inputs, strict=True):
            # Of the shape that it has already, it does nothing.
            interpreter.resize_tensor_input(place["index"], rows.shape)
        # A new shape invalidates all tensors, so that this comes before any is set.
        interpreter.allocate_tensors()
        for place, rows in zip(places, inputs, strict=True):
            interpreter.set_tensor(place["index"], _encoded(rows, place))
        interpreter.invoke()
        outputs = [self._outputs[name] for name in self.output_names]
        return [_decoded(interpreter.get_tensor(d["index"]), d) for d in outputs]


def _interpreter(content: bytes) -> Any:
    try:
        module = import_extra("ai_edge_litert.interpreter", "compression")
    except ImportError:
        with warnings.catch_warnings():
            # That it will be removed; the extra has the one that stays.
            warnings.simplefilter("ignore")
            return tf.lite.Interpreter(model_content=content)
    return module.Interpreter(model_content=content)


def _places(interpreter: Any) -> tuple[Record, Record]:
    """What is known of inputs and outputs, by their names."""
    signatures = interpreter.get_signature_list()
    rule = f"a file with one signature, not {list(signatures)}"
    require(len(signatures) <= 1, "path", list(signatures), rule)
    if not signatures:
        outputs = enumerate(interpreter.get_output_details())
        inputs = {d["name"]: d for d in interpreter.get_input_details()}
        return inputs, {f"output_{i}": d for i, d in outputs}
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    return runner.get_input_details(), runner.get_output_details()


def _numbered(names: list[str]) -> bool:
    """Whether outputs are those of a list, which have no names of their own."""
    return all(re.fullmatch(r"output_\d+", name) for name in names)


def _sorted_outputs(names: list[str]) -> list[str]:
    """As the model gives them: by their numbers, or as keys in their order."""
    if _numbered(names):
        return sorted(names, key=lambda name: int(name.rpartition("_")[2]))
    return sorted(names)


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
