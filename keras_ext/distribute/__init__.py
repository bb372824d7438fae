"""Strategies of tf.distribute, and `fit` that works with several workers."""

from keras_ext.distribute._is_chief import is_chief
from keras_ext.distribute._multi_worker import MultiWorker
from keras_ext.distribute._shard import shard
from keras_ext.distribute._strategy import strategy

__all__ = ["MultiWorker", "is_chief", "shard", "strategy"]
