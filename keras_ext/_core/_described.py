"""What objects look like when they are printed."""

import inspect
from collections.abc import Iterator
from typing import Any

from keras_ext._core._checks import cut, shown

_MISSING = object()
# Characters of an argument, and entries of a list.
_LONGEST, _MOST = 60, 5


class Described:
    """Shows how an object was made: `DynamicBatchSize('noise_scale', batch_size=32)`.

    The arguments of the constructor are read from attributes of the same names. What
    has its default is left out, and what is long is shortened. What can change while
    training has its present value.

    Examples:
        >>> from keras_ext._core._described import Described
        >>> class Box(Described):
        ...     def __init__(self, width, *, height=1.0, color=None):
        ...         self.width, self.height, self.color = width, height, color
        >>> Box(2.0, color="red")
        Box(2.0, color='red')
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(_shown_arguments(self))})"


def _shown_arguments(described: Described) -> Iterator[str]:
    parameters = inspect.signature(type(described)).parameters.values()
    in_place = True  # as long as no argument is left out
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            # Layers have their name among the rest.
            name = _attribute(described, "name")
            if isinstance(name, str) and "name" not in [p.name for p in parameters]:
                yield f"name={name!r}"
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        value = _plain(_attribute(described, parameter.name))
        if value is _MISSING or _is_default(value, parameter.default):
            in_place = False
            continue
        by_place = in_place and parameter.kind is not parameter.KEYWORD_ONLY
        yield ("" if by_place else f"{parameter.name}=") + cut(_told(value), _LONGEST)


def _attribute(described: Described, name: str) -> Any:
    # A property may fail where there is nothing to show yet: printing must not.
    try:
        return getattr(described, name, _MISSING)
    except Exception:
        return _MISSING


def _plain(value: Any) -> Any:
    """The number in a variable, or the value itself."""
    if hasattr(value, "assign_on_scale"):  # a HyperVariable
        value = int(value) if value.dtype == "int32" else float(value)
    elif hasattr(value, "numpy") and tuple(getattr(value, "shape", (0,))) == ():
        value = value.numpy().item()
    elif getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    # In float32, 0.1 is 0.10000000149.
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _told(value: object) -> str:
    """The value as one would write it."""
    if isinstance(value, list | tuple) and len(value) <= _MOST:
        inside = ", ".join(_told(_plain(entry)) for entry in value)
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{comma})"
    if isinstance(value, type) or inspect.isroutine(value):
        return str(getattr(value, "__name__", value))
    if repr(value) == object.__repr__(value):
        return type(value).__name__  # an address says nothing
    return shown(value)


def _is_default(value: object, default: object) -> bool:
    if default is inspect.Parameter.empty:
        return False
    if isinstance(value, list | tuple | dict):
        empty = not value and not default
        return empty or (isinstance(default, tuple) and tuple(value) == default)
    if isinstance(value, float) and isinstance(default, float):
        both_nan = value != value and default != default
        return both_nan or abs(value - default) <= 1e-6 * abs(default)  # float32
    try:
        return value is default or bool(value == default)
    except Exception:
        return False  # arrays have no such answer
