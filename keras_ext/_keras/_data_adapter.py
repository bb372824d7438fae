"""The interface between `fit` and its data, which Keras has but does not export.

`fit` takes an instance of this class as it is. Nothing public lets the number of
steps of an epoch change: that of a `PyDataset` is read once, and then believed.

It takes it so much as it is that what else is given to `fit`, targets and weights, is
dropped without a word. `FitData` is told of it: `get_data_adapter`, where Keras drops
it, is wrapped for the process when the first such data are made, and does for all other
data what it did.
"""

import functools
from typing import Any, Self

from keras.src.trainers import data_adapters  # noqa: TID251
from keras.src.trainers.data_adapters.data_adapter import (  # noqa: TID251
    DataAdapter,
)

from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Function

__all__ = ["FitData"]

_GET = "get_data_adapter"


class FitData(DataAdapter):
    """Data for `fit`, `evaluate` and `predict` that hear what else these were given."""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        # Before the `fit` that they are for.
        get = getattr(data_adapters, _GET)
        if not hasattr(get, "__wrapped__"):
            setattr(data_adapters, _GET, _telling(get))
        return super().__new__(cls)

    def begin_run(self, class_weight: Data) -> None:
        """Called at the beginning of `fit`, with its `class_weight`, or None."""
        raise NotImplementedError(f"{type(self).__name__} must override begin_run().")


def _telling(get: Function) -> Function:
    @functools.wraps(get)
    def get_data_adapter(x: Data, *args: Data, **given: Any) -> DataAdapter:
        if isinstance(x, FitData):
            kind = type(x).__name__.lstrip("_")
            for name in ("y", "sample_weight"):
                hint = f"{kind} has its own: give it to that."
                value = given.get(name)
                require(value is None, name, value, f"None with {kind}", hint)
            x.begin_run(given.get("class_weight"))
        return get(x, *args, **given)

    return get_data_adapter
