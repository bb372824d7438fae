"""The data of a search in folds, each of which is held out once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_ext._core._checks import integer, require
from keras_ext._core._typing import Data, Record

_HINT = "With `cross_validation`, `search` takes x, y and sample_weight as arrays."


def checked_folds(given: Any, executions: int) -> tuple[int, int] | None:
    """How many folds, and how often: the argument `cross_validation`."""
    if given is None:
        return None
    is_pair = isinstance(given, tuple | list) and len(given) == 2
    count, repeats = given if is_pair else (given, 1)
    require(
        executions == 1,
        "executions_per_trial",
        executions,
        "1 with `cross_validation`",
        "A pair repeats the folds: `cross_validation=(5, 2)`.",
    )
    count = integer(count, "cross_validation", low=2)
    return count, integer(repeats, "cross_validation", low=1)


class Folds(NamedTuple):
    """Data, and which of its rows are held out in each fold.

    Attributes:
        held_out: Of each fold the rows.
        rows: How many rows there are.
        data: x, y and sample_weight.
        others: The other arguments of `fit`.
    """

    held_out: list[np.ndarray]
    rows: int
    data: tuple[Data, ...]
    others: Record

    @classmethod
    def of(
        cls,
        folds: tuple[int, int] | None,
        args: Sequence[Data],
        kwargs: Record,
        seed: int,
    ) -> "Folds | None":
        """The folds of the arguments of `search`, the same for each trial.

        Raises:
            ValueError: If there is something else than arrays of the same length, or
                data for validation.
        """
        if folds is None:
            return None
        named = dict(zip(("x", "y"), args, strict=False))
        given = {**kwargs, **named}
        no_more = len(args) <= 2 and not given.get("validation_split")
        valid = no_more and given.get("validation_data") is None
        require(valid, "validation_data", "given", "None", _HINT)
        data = tuple(given.pop(name, None) for name in ("x", "y", "sample_weight"))
        # None or 0, as checked above; `fit` gets data that are held out.
        given.pop("validation_split", None)
        given.pop("validation_data", None)
        rows = _rows(data)
        count, repeats = folds
        require(count <= rows, "cross_validation", count, f"at most the {rows} rows")
        held_out = [
            np.sort(part)
            for repeat in range(repeats)
            for part in _parts(data[1], rows, count, [seed, repeat])
        ]
        return cls(held_out, rows, data, given)

    @property
    def total(self) -> int:
        """How many trainings there are."""
        return len(self.held_out)

    def arguments(self, fold: int) -> tuple[tuple[()], Record]:
        """What `fit` is given, such that a fold is held out."""
        others = np.setdiff1d(np.arange(self.rows), self.held_out[fold])
        x, y, weight = (_taken(part, others) for part in self.data)
        held_out = [_taken(part, self.held_out[fold]) for part in self.data]
        held_out = held_out if weight is not None else held_out[:2]
        arguments = {"x": x, "y": y, "validation_data": tuple(held_out)}
        if weight is not None:
            arguments["sample_weight"] = weight
        return (), {**self.others, **arguments}


def _rows(data: Sequence[Data]) -> int:
    leaves = [leaf for part in data[:2] for leaf in keras.tree.flatten(part)]
    leaves += [leaf for leaf in keras.tree.flatten(data[2]) if leaf is not None]
    shapes = [getattr(leaf, "shape", None) for leaf in leaves]
    sizes = {shape[0] if shape else None for shape in shapes}
    require(len(sizes) == 1 and None not in sizes, "x", data[0], "arrays", _HINT)
    return int(sizes.pop() or 0)


def _taken(part: Data, rows: np.ndarray) -> Data:
    # Of several outputs, only some may have weights.
    return keras.tree.map_structure(
        lambda leaf: None if leaf is None else np.asarray(leaf)[rows], part
    )


def _parts(y: Data, rows: int, count: int, seed: list[int]) -> list[np.ndarray]:
    """Rows in random parts, with as many of each class in all, if there are classes."""
    order = np.random.default_rng(seed).permutation(rows)
    labels = _labels(y)
    # What has more values than each fold could have one of is a number.
    if labels is not None and len(np.unique(labels)) * count <= rows:
        # Those of a class one after the other, then dealt out like cards.
        order = order[np.argsort(labels[order], kind="stable")]
    return [order[i::count] for i in range(count)]


def _labels(y: Data) -> np.ndarray | None:
    """A number for the class of each row; None if these are no classes."""
    leaves = keras.tree.flatten(y)
    if len(leaves) != 1:
        return None
    values = np.asarray(leaves[0])
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if values.ndim == 2 and np.all(np.isin(values, (0, 1))):
        values = values.argmax(axis=1)  # one-hot
    if values.ndim != 1 or not np.all(values == np.floor(values)):
        return None
    return values
