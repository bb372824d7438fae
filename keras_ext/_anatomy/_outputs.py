"""Which outputs of a model are meant, by number or name."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_ext._core._checks import is_integer, require, texts
from keras_ext._core._typing import Data

FORMS = '"top", ("top", k), an integer, a name, a list of such, a function or None'


class Outputs:
    """All entries of what a model puts out, side by side, and what they are called.

    An entry has the name of its output layer, with a number if that has several. Of a
    single output they are only numbered, and the name of the layer means all of them.

    Args:
        model: The model, whose layers have names.
        raw: What it puts out, tensors whose shapes are known but for the rows.
        given: Names for all entries. None means those of the model.

    Attributes:
        sizes: How many entries each output has, in the order of `keras.tree`.
        layers: The names of the outputs.
        names: The names of the entries.

    Raises:
        ValueError: If there are not as many names as entries.
    """

    def __init__(
        self, model: object, raw: Data, given: Sequence[str] | None = None
    ) -> None:
        tensors = keras.tree.flatten(raw)
        self.sizes = [math.prod(tensor.shape[1:]) for tensor in tensors]
        self.layers = _layer_names(model, raw, len(tensors))
        self.names = _entry_names(self.layers, self.sizes)
        if given is not None:
            count = sum(self.sizes)
            self.names = texts(given, "output_names", count, "one for each output")

    def chosen(self, outputs: Any) -> list[int] | None:
        """The numbers of the entries that are meant; None for all.

        Raises:
            ValueError: If there is no such output.
        """
        if outputs is None:
            return None
        several = isinstance(outputs, list | tuple | range | np.ndarray)
        wanted = list(outputs) if several and np.ndim(outputs) else [outputs]
        count, known = len(self.names), self._by_name()
        expected = f"{FORMS}; the outputs are {self.names}"
        require(wanted != [], "outputs", outputs, expected)
        found: list[int] = []
        for output in wanted:
            is_number = is_integer(output) and -count <= output < count
            is_name = isinstance(output, str) and output in known
            require(is_number or is_name, "outputs", outputs, expected)
            found += known[output] if is_name else [int(output) % count]
        return found

    def _by_name(self) -> dict[str, list[int]]:
        """What names mean: an entry, or all entries of a layer."""
        known: dict[str, list[int]] = {}
        begin = 0
        for layer, size in zip(self.layers, self.sizes, strict=True):
            known[layer] = list(range(begin, begin + size))
            known |= {f"{layer}[{i}]": [begin + i] for i in range(size)}
            begin += size
        # A name that was given stands for what it was given to.
        return known | {name: [i] for i, name in enumerate(self.names)}


def number_of_top(outputs: Any) -> int | None:
    """The `k` of `"top"` and `("top", k)`; None for anything else."""
    if isinstance(outputs, str) and outputs == "top":
        return 1
    is_pair = isinstance(outputs, tuple) and len(outputs) > 0
    if is_pair and isinstance(outputs[0], str) and outputs[0] == "top":
        valid = len(outputs) == 2 and is_integer(outputs[1]) and outputs[1] >= 1
        require(valid, "outputs", outputs, FORMS)
        return int(outputs[1])
    return None


def highest(columns: np.ndarray, count: int) -> np.ndarray:
    """The numbers of the highest entries of each row, `(rows, count)`."""
    order = np.argsort(-columns, axis=1, kind="stable")
    return order[:, :count].astype("int32")


def _layer_names(model: object, raw: Data, count: int) -> list[str]:
    if isinstance(raw, dict):
        names = [str(key) for key in sorted(raw)]
    elif isinstance(model, keras.Sequential):
        names = [layer.name for layer in model.layers[-1:]]
    else:
        names = list(getattr(model, "output_names", None) or [])
    if len(names) == count:
        return names
    return ["output"] if count == 1 else [f"output_{i}" for i in range(count)]


def _entry_names(layers: Sequence[str], sizes: Sequence[int]) -> list[str]:
    if len(sizes) == 1 and sizes[0] != 1:
        return [str(i) for i in range(sizes[0])]
    names = []
    for layer, size in zip(layers, sizes, strict=True):
        names += [layer] if size == 1 else [f"{layer}[{i}]" for i in range(size)]
    return names
