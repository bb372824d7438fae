"""The names of the elements of a row."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_ext._core._checks import require
from keras_ext.explain._inputs import Inputs


def named_elements(
    inputs: Inputs, given: Sequence[str] | Mapping[str, Sequence[str]] | None
) -> tuple[list[str], list[str] | None]:
    """The names of all elements, and those of the last axis of the only input, if any.

    Args:
        inputs: The layout of the inputs.
        given: What the caller named: all elements, the last axis, or a dictionary from
            the names of inputs to one of these. None takes names from the inputs.

    Raises:
        ValueError: If there are not as many names as elements.
    """
    if given is None:
        return inputs.element_names(), None
    if isinstance(given, Mapping):
        return _of_inputs(inputs, given), None
    names = _listed(given)
    of_axis = _last_axis(inputs.shapes[0]) if inputs.is_single else None
    if len(names) != inputs.num_elements and len(names) == of_axis:
        return _along(names, inputs.shapes[0]), names
    _require_as_many(names, inputs.num_elements, of_axis, given)
    return names, None


def _of_inputs(inputs: Inputs, given: Mapping[str, Sequence[str]]) -> list[str]:
    rule = f"for some of the inputs {inputs.names}"
    require(set(given) <= set(inputs.names), "feature_names", list(given), rule)
    names: list[str] = []
    parts = inputs.split(np.array(inputs.element_names(), object), axis=0)
    for part, shape, usual in zip(inputs.names, inputs.shapes, parts, strict=True):
        own = _listed(given.get(part, usual))
        of_axis = _last_axis(shape)
        if len(own) != len(usual) and len(own) == of_axis:
            own = _along(own, shape)
        _require_as_many(own, len(usual), of_axis, given)
        names += own
    return names


def _listed(given: Sequence[str] | np.ndarray) -> list[str]:
    several = isinstance(given, list | tuple) or getattr(given, "shape", ()) != ()
    require(several, "feature_names", given, "a list of names")
    return [str(name) for name in given]


def _last_axis(shape: Sequence[int]) -> int | None:
    """How long the last of several axes of a row is."""
    return shape[-1] if len(shape) > 1 else None


def _along(names: Sequence[str], shape: Sequence[int]) -> list[str]:
    """The names of a last axis, at each place of the others."""
    return [
        f"{name}[{','.join(map(str, place))}]"
        for place in np.ndindex(*shape[:-1])
        for name in names
    ]


def _require_as_many(
    names: Sequence[str], count: int, of_axis: int | None, given: object
) -> None:
    also = f", or {of_axis} for its last axis" if of_axis else ""
    expected = f"{count} names, one for each element of a row{also}"
    require(len(names) == count, "feature_names", given, expected)
