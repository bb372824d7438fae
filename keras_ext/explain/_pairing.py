"""Which of the given arrays goes to which input of a model: names decide."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Tensor
from keras_ext.explain._python_model import PythonModel

_ORDER = "Give a dictionary by these names: a list has no names to go by."


class Pairing:
    """Brings what is given into the order of the inputs of a model.

    Dictionaries and the columns of DataFrames are paired by name, whatever their order,
    and may neither lack a name nor have one too many. Lists are paired by position.

    Args:
        model: The model. One that declares no inputs takes the structure of the
            example.
        example: Rows as the model takes them.
        name: The argument to name in errors.

    Attributes:
        declared: The symbolic inputs, if the model has any, in the order of
            `keras.tree`.
        names: The names of the inputs, or None where there are none to go by.
        columns: For each input the names of the columns of its DataFrame, or None.
        order: Which input each of the given arrays is, in the order in which they are
            explained: that of the columns of a DataFrame, else that of the model.
    """

    def __init__(
        self, model: keras.Model | PythonModel, example: Data, name: str
    ) -> None:
        self._columns_of = getattr(model, "columns_of", columns_of)
        self._inputs = _declared_structure(model)
        self.declared = declared(model)
        self.names = _names(self._inputs)
        self._by_column = is_frame(example) and self._takes_columns()
        # Of a model that declares nothing, the example is what is to be had.
        self._structure = _structure(example) if self._inputs is None else self._inputs
        self.columns: list[list[str] | None] | None = None
        leaves = self.leaves(example, name)
        self.columns = [_columns(leaf) for leaf in leaves]
        self.order = list(range(len(leaves)))
        if self._by_column and self.names is not None:
            self.order = [self.names.index(c) for c in _columns(example) or []]

    def leaves(self, x: Data, name: str) -> list[Data]:
        """The arrays in the order of the inputs."""
        found = self._flat(self.for_predict(x), name)
        if self.columns is None:
            return found
        return [
            _reordered(leaf, columns, name)
            for leaf, columns in zip(found, self.columns, strict=True)
        ]

    def packed(self, leaves: Sequence[np.ndarray | Tensor]) -> Data:
        """What the model takes, of arrays in the order in which they are explained."""
        of_inputs = dict(zip(self.order, leaves, strict=True))
        ordered = [of_inputs[i] for i in range(len(of_inputs))]
        return keras.tree.pack_sequence_as(self._structure, ordered)

    def frame_rows(self, frame: Data) -> np.ndarray:
        """The rows of a DataFrame, in the order in which they are explained."""
        wanted = self.columns[0] if self.columns else None
        if self._takes_columns() and self.names is not None:
            wanted = [self.names[i] for i in self.order]
        return np.asarray(_reordered(frame, wanted, "x"))

    def for_predict(self, x: Data) -> Data:
        """A DataFrame as Keras takes it; anything else as it is, paired by Keras."""
        if is_frame(x) and self._takes_columns():
            return {str(key): column for key, column in self._columns_of(x).items()}
        return x

    def _takes_columns(self) -> bool:
        """Whether the columns of a DataFrame go to inputs of their own."""
        several = self.names is not None and len(self.names) > 1
        return several or isinstance(self._inputs, Mapping)

    def _flat(self, x: Data, name: str) -> list[Data]:
        if self._inputs is None:
            found = _structure(x)
            expected = f"of the structure {self._structure}, as the background is"
            require(found == self._structure, name, found, expected)
            return keras.tree.flatten(x)
        if isinstance(x, Mapping) and self.names is not None:
            given = {str(key): value for key, value in x.items()}
            _require_names(list(given), self.names, name)
            return [given[key] for key in self.names]
        if isinstance(self._inputs, Mapping) and not isinstance(x, Mapping):
            sorted_too = list(self._inputs) == sorted(self._inputs)
            rule = f"a dictionary of the inputs {list(self._inputs)}"
            require(sorted_too, name, type(x).__name__, rule, _ORDER)
        found = keras.tree.flatten(x)
        count = len(self.declared) or len(keras.tree.flatten(self._inputs))
        rule = f"of the structure {_structure(self._inputs)}, as the model takes it"
        require(len(found) == count, name, _structure(x), rule)
        return found


def declared(model: keras.Model | PythonModel) -> list[keras.KerasTensor]:
    """The symbolic inputs of a model, in the order of `keras.tree`, if it has any."""
    return keras.tree.flatten(getattr(model, "inputs", None) or [])


def columns_of(frame: Data) -> dict[str, np.ndarray]:
    """The columns of a DataFrame, by name."""
    return {column: frame[column].to_numpy() for column in frame.columns}


def is_frame(x: Data) -> bool:
    """Whether this is a DataFrame."""
    return hasattr(x, "columns") and hasattr(x, "to_numpy")


def _declared_structure(model: keras.Model | PythonModel) -> Any:
    """The structure of the inputs; None for a model that declares none."""
    inputs = declared(model)
    own = getattr(model, "input", None)
    if isinstance(model, keras.Model) and len(inputs) == 0:
        return None
    if isinstance(model, keras.Sequential):
        return inputs[0]
    return own


def _names(structure: Any) -> list[str] | None:
    """What the inputs are called: keys, or the names of symbolic inputs."""
    if isinstance(structure, Mapping):
        if any(isinstance(v, Mapping | list | tuple) for v in structure.values()):
            return None
        return [str(key) for key in sorted(structure)]
    flat = keras.tree.flatten(structure)
    names = [getattr(tensor, "name", None) for tensor in flat]
    return [str(name) for name in names] if all(names) and names else None


def _structure(x: Data) -> Any:
    # Numbers in place of the arrays: structures that are equal compare as equal.
    return keras.tree.map_structure(lambda _: 0, x)


def _columns(x: Data) -> list[str] | None:
    return [str(c) for c in x.columns] if is_frame(x) else None


def _reordered(x: Data, wanted: list[str] | None, name: str) -> Data:
    """A DataFrame with its columns in the wanted order; anything else as it is."""
    given = _columns(x)
    if wanted is None or given is None:
        return x
    rows = x.to_numpy()
    if given == wanted:
        return rows
    _require_names(given, wanted, name)
    return rows[:, [given.index(column) for column in wanted]]


def _require_names(given: Sequence[str], wanted: Sequence[str], name: str) -> None:
    lacking = [key for key in wanted if key not in given]
    beyond = [key for key in given if key not in wanted]
    hint = f"Not there: {lacking}. " if lacking else ""
    hint += f"Too many: {beyond}." if beyond else ""
    fits = len(given) == len(wanted) and not hint
    require(fits, name, list(given), f"with the names {list(wanted)}", hint.strip())
