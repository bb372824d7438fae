"""What objects remember from one step to the next, as plain data.

An object lists the attributes in `remembered`, a class attribute; those of its base
classes are added. One that has none but an `update`, such as a controller, remembers
all its attributes that are plain data and no arguments of its constructor.
"""

import inspect
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_ext._core._typing import Record
from keras_ext._live._hyper_variable import HyperVariable

_PLAIN = (bool, int, float, str, type(None))


def numbered(objects: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Objects by names that do not depend on what other kinds there are."""
    counts: dict[str, int] = {}
    for item in objects:
        name = type(item).__name__
        counts[name] = counts.get(name, 0) + 1
        yield f"{name}_{counts[name]}", item


def memory_of(holder: object) -> Record:
    """What an object remembers, from attribute to plain data and arrays."""
    return {name: _plain(vars(holder)[name]) for name in _names(holder)}


def recall(holder: object, memory: Record) -> None:
    """Lets an object go on with what `memory_of` another of its kind has given."""
    for name in _names(holder):
        if name in memory:
            _set(holder, name, _recalled(vars(holder)[name], memory[name]))


def _set(holder: object, name: str, value: object) -> None:
    if vars(holder)[name] is not value:
        setattr(holder, name, value)


def _names(holder: object) -> Iterator[str]:
    listed = [n for c in type(holder).__mro__ for n in vars(c).get("remembered", ())]
    if hasattr(holder, "remembered"):
        yield from (name for name in dict.fromkeys(listed) if name in vars(holder))
        return
    arguments = set(inspect.signature(type(holder)).parameters)
    for name, value in vars(holder).items():
        settled = name in arguments and _is_data(value)
        if not settled and _can_be_kept(value):
            yield name


def _remembers(value: object) -> bool:
    """Whether a value is an object with a memory of its own."""
    if isinstance(value, type):
        return False
    return hasattr(value, "remembered") or callable(getattr(value, "update", None))


def _is_data(value: object) -> bool:
    if isinstance(value, list | tuple | deque):
        return all(map(_is_data, value))
    if isinstance(value, dict):
        return all(map(_is_data, [*value.keys(), *value.values()]))
    return isinstance(value, (*_PLAIN, np.ndarray, np.generic))


def _can_be_kept(value: object) -> bool:
    if isinstance(value, list | tuple | deque):
        return all(map(_can_be_kept, value))
    known = isinstance(value, np.random.Generator | HyperVariable)
    return (
        known or _is_data(value) or (_remembers(value) and hasattr(value, "__dict__"))
    )


def _plain(value: object) -> Any:
    """A value as plain data and arrays."""
    if isinstance(value, HyperVariable):
        return int(value) if value.dtype == "int32" else float(value)
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | deque):
        return [_plain(x) for x in value]
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if keras.ops.is_tensor(value) or isinstance(value, keras.Variable):
        return keras.ops.convert_to_numpy(value)
    if isinstance(value, (*_PLAIN, np.ndarray)):
        return value
    return memory_of(value)


def _recalled(present: object, kept: Any) -> Any:
    """What takes the place of a present value."""
    if isinstance(present, HyperVariable):
        present.assign(kept)
    elif isinstance(present, np.random.Generator):
        present.bit_generator.state = kept
    elif isinstance(present, deque):
        return deque(kept, maxlen=present.maxlen)
    elif isinstance(present, list | tuple) and not _is_data(present):
        pairs = zip(present, kept, strict=True)
        return type(present)(_recalled(x, k) for x, k in pairs)
    elif not isinstance(present, dict) and _remembers(present):
        recall(present, kept)
    else:
        return kept
    return present
