"""Data whose batches can change size in the middle of `fit`."""

from keras_ext.data._dynamic_batches import DynamicBatches

__all__ = ["DynamicBatches"]
