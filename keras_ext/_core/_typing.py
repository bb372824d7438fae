"""Names for the types that Keras leaves open."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

# Keras ships no types, so these say to a reader what `Any` cannot.
Tensor: TypeAlias = Any
Variable: TypeAlias = Any
Shape: TypeAlias = tuple[int | None, ...]
Logs: TypeAlias = dict[str, Any] | None

# Which variables or layers are meant: regular expressions that are searched in the
# path, or a predicate on the object itself.
Pattern: TypeAlias = str | Sequence[str] | Callable[[Any], bool] | None
