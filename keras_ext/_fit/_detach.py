"""Undoes what callbacks left on a model when `fit` was interrupted."""

import keras

from keras_ext._core._checks import require
from keras_ext._fit._fit_scope import close_scope
from keras_ext._fit._training_run import close_run


def detach(model: keras.Model) -> None:
    """Removes everything that callbacks of this library have installed on a model.

    `fit` does so itself, however it ends. Call this after a training loop without `fit`
    that was interrupted before `on_train_end`; the next callback of this library that
    gets the model does the same. On a clean model it does nothing. Gradients
    accumulated for an incomplete update are dropped.

    Args:
        model: The model.

    Raises:
        ValueError: If it is not a model.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> kx.callbacks.LayerwiseAdaptiveClipping().set_model(model)
        >>> type(model.optimizer).__name__
        'AttachedPipeline'
        >>> kx.detach(model)
        >>> type(model.optimizer).__name__
        'SGD'
    """
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    close_scope(model)
    close_run(model)
