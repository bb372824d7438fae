"""A space of models."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import keras

from keras_ext._core._checks import is_integer, require
from keras_ext._core._typing import Record
from keras_ext.tuner.spaces._asked import Asked
from keras_ext.tuner.spaces._blocks import Blocks
from keras_ext.tuner.spaces._widths import Widths, profile, resolved

if TYPE_CHECKING:
    import keras_tuner


class Network:
    """A function of `hp` that returns a model, and can declare what it asks for.

    A subclass defines `name`, `_ask`, `_widths` and `_model`.
    """

    name: str

    def declare(self, hp: "keras_tuner.HyperParameters") -> None:
        """Declares all hyperparameters, those under conditions too."""
        self._read(hp)

    def __call__(self, hp: "keras_tuner.HyperParameters") -> keras.Model:
        """Returns a model, which is not compiled."""
        values = self._read(hp)
        return self._model(values, self._widths(values))

    def widths(self, hp: "keras_tuner.HyperParameters") -> list[int]:
        """Returns the widths of the layers of the model, from first to last."""
        return self._widths(self._read(hp))

    def _read(self, hp: "keras_tuner.HyperParameters") -> Record:
        with hp.name_scope(self.name):
            return self._ask(Asked(hp))

    def _ask(self, asked: Asked) -> Record:
        raise NotImplementedError

    def _widths(self, values: Record) -> list[int]:
        raise NotImplementedError

    def _model(self, values: Record, widths: list[int]) -> keras.Model:
        raise NotImplementedError


class LayeredNetwork(Network):
    """A network of layers whose widths have a shape, with ways past them or without.

    A subclass has the fields below, and defines `_ask`, `_count` and `_model`.
    """

    # The name of what says how many widths there are.
    along = "depth"
    shapes: Widths
    blocks: Blocks
    residual: tuple[bool, ...]

    def __post_init__(self) -> None:
        self.blocks.require_residual(self.residual)

    def _widths(self, values: Record) -> list[int]:
        shape = profile(values, values[self.along])
        count = partial(self._count, values)
        # No extra units where inputs are added: layers of one share need one width.
        return resolved(values, shape, count, extra=not values["residual"])

    def _skips(self, values: Record) -> list[str]:
        """How the input of each layer is added to its output."""
        return skips(values["residual"], profile(values, values[self.along]))

    def _count(self, values: Record, widths: list[int]) -> int:
        """The number of parameters."""
        raise NotImplementedError


def checked_shape(
    value: Sequence[int], ranks: Sequence[int], what: str
) -> tuple[int, ...]:
    """The shape of an input without the batch, as a tuple."""
    valid = isinstance(value, list | tuple) and len(value) in ranks
    valid = valid and all(is_integer(size) and size >= 1 for size in value)
    require(valid, "input_shape", value, f"a tuple of integers >= 1, {what}")
    return tuple(int(size) for size in value)


def added(
    x: keras.KerasTensor, y: keras.KerasTensor, how: str, project: keras.Layer
) -> keras.KerasTensor:
    """The output of a block, with its input added as it is, or through a map.

    Args:
        x: The input.
        y: The output.
        how: `"none"`, `"identity"` or `"projection"`.
        project: A layer that maps the input, for the last.
    """
    if how == "none":
        return y
    return keras.layers.Add()([x if how == "identity" else project(x), y])


def skips(residual: bool | None, shape: Sequence[float]) -> list[str]:
    """How the input of each layer is added to its output; the first has no skip.

    By the shape, not by the widths, which may be equal by chance of rounding: so the
    number of parameters grows with the widths.
    """
    pairs = zip(shape, shape[1:], strict=False)
    kinds = ["identity" if a == b else "projection" for a, b in pairs]
    return ["none", *(kinds if residual else ["none"] * len(kinds))]
