"""Names for the types that Keras leaves open."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

# Keras ships no types, so these say to a reader what `Any` cannot.
Tensor: TypeAlias = Any
Variable: TypeAlias = Any
Shape: TypeAlias = tuple[int | None, ...]
Logs: TypeAlias = dict[str, Any] | None
Layer: TypeAlias = Any
Optimizer: TypeAlias = Any
# One of tf.distribute.
Strategy: TypeAlias = Any
# What `fit` or `predict` takes as data: arrays, structures of them, data sets.
Data: TypeAlias = Any
# A `shap.Explanation`, or an array of values; a figure of Matplotlib.
Explanation: TypeAlias = Any
Figure: TypeAlias = Any
Function: TypeAlias = Callable[..., Any]
# What `get_config` returns; and named values of several kinds.
Config: TypeAlias = dict[str, Any]
Record: TypeAlias = dict[str, Any]

# Which outputs of a model are meant: `"top"`, `("top", k)`, a number, a name, a list of
# these, or a function of what the model puts out; None means all.
OutputChoice: TypeAlias = int | str | Sequence[int | str] | Function | None

# Which variables or layers are meant: regular expressions that are searched in the
# path, or a predicate on the object itself.
Pattern: TypeAlias = str | Sequence[str] | Callable[[Any], bool] | None
