"""Undoes what callbacks left on a model when `fit` was interrupted."""

import keras

from keras_ext.core._make_live import make_plain
from keras_ext.optimizers._attached_pipeline import AttachedPipeline
from keras_ext.optimizers._local_updates import LocalUpdates


def detach(model: keras.Model) -> None:
    """Gives a model its own optimizer and dropout layers back.

    The callbacks of this library do so at the end of training. When `fit` ends with
    an exception or Ctrl-C, nobody tells them, and what they put in place stays. The
    next `fit` with them puts it right; call this before one without them. On a model
    that nothing was left on, it does nothing. Batches that were accumulated for an
    update that did not come are dropped.

    Args:
        model: The model.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> kx.callbacks.LayerwiseAdaptiveClipping().set_model(model)
        >>> type(model.optimizer).__name__
        'AttachedPipeline'
        >>> kx.callbacks.detach(model)
        >>> type(model.optimizer).__name__
        'SGD'
    """
    optimizer = getattr(model, "optimizer", None)
    if isinstance(optimizer, AttachedPipeline | LocalUpdates):
        optimizer.detach()
    make_plain(model)
