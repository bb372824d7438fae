"""Which backend of Keras is in use."""

import warnings

import keras


def warn_unless_tensorflow() -> None:
    """Says what works and what does not, where Keras runs on another backend."""
    backend = keras.config.backend()
    if backend == "tensorflow":
        return
    warnings.warn(
        f"keras_ext is for the TensorFlow backend, and Keras has the backend "
        f"{backend!r}. `controllers` are plain Python and work; `regularizers` and "
        "`schedules` are written in keras.ops, but tested on TensorFlow only. "
        "Callbacks, layers, gradients, signals, optimizers, data, distribute, "
        "diagnostics, uncertainty, training, explain, compression and tuner do not "
        "work. Set KERAS_BACKEND=tensorflow before Keras is imported.",
        stacklevel=2,
    )
