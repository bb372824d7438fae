"""Choosing variables and layers by their path."""

import re
from collections.abc import Iterable, Sized
from typing import Any

import keras

from keras_ext._core._checks import require, takes
from keras_ext._core._typing import Pattern


def check_pattern(name: str, pattern: Pattern) -> None:
    """Raises a `ValueError` unless `pattern` can be given to `matches`."""
    expected = "a regular expression, a list of them, a function or None"
    require(
        not isinstance(pattern, keras.Layer),  # which would be called
        name,
        pattern,
        expected,
        "For the weights of a layer or of a model inside, pass "
        "`lambda w: any(w is v for v in layer.weights)`.",
    )
    if pattern is None or (callable(pattern) and takes(pattern, 1)):
        return
    parts: Any = [pattern] if isinstance(pattern, str) else pattern
    require(
        isinstance(parts, list | tuple | set)
        and all(isinstance(part, str) for part in parts),
        name,
        pattern,
        expected,
    )
    for part in parts:
        try:
            re.compile(part)
        except re.error as error:
            require(False, name, pattern, expected, f"{part!r} fails: {error}.")


def matches(pattern: Pattern, item: Any, path: str | None = None) -> bool:
    """Whether a variable or layer is meant by `pattern`, by its own path or another."""
    if pattern is None:
        return False
    if callable(pattern):
        return bool(pattern(item))
    parts = [pattern] if isinstance(pattern, str) else pattern
    path = item.path if path is None else path
    return any(re.search(part, path) for part in parts)


def is_selected(
    item: Any, include: Pattern, exclude: Pattern, path: str | None = None
) -> bool:
    """Whether `item` is meant by `include` (None: everything) and not by `exclude`."""
    included = include is None or matches(include, item, path)
    return included and not matches(exclude, item, path)


def require_some(
    chosen: Sized,
    include: Pattern,
    exclude: Pattern,
    *,
    what: str,
    paths: Iterable[str],
) -> None:
    """Raises a `ValueError` if a selection leaves nothing: it would do nothing, unseen.

    Args:
        chosen: What is selected, a collection.
        include: The pattern of what is meant.
        exclude: The pattern of what is not.
        what: What is selected from, a noun in the singular.
        paths: The paths of all that there are.

    Raises:
        ValueError: If nothing is selected, with the paths.

    Examples:
        >>> from keras_ext._core._pattern import require_some
        >>> require_some([], "hiden", None, what="layer", paths=["hidden"])
        Traceback (most recent call last):
        ValueError: `include` must be such that some layer is left of ['hidden']. ...
    """
    name, value = ("exclude", exclude) if include is None else ("include", include)
    expected = f"such that some {what} is left of {list(paths)}"
    require(len(chosen) > 0, name, value, expected)
