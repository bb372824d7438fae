"""The interface between `fit` and its data, which Keras has but does not export.

`fit` takes an instance of this class as it is. Nothing public lets the number of
steps of an epoch change: that of a `PyDataset` is read once, and then believed.
"""

from keras.src.trainers.data_adapters.data_adapter import (  # noqa: TID251
    DataAdapter,
)

__all__ = ["DataAdapter"]
