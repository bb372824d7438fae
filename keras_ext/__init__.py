"""Extensions for Keras 3: training that senses, decides and acts.

`import keras_ext` registers every serializable class, so that
`keras.saving.load_model` can find it by its saved name.
"""

from keras_ext import (
    callbacks,
    controllers,
    core,
    data,
    distribute,
    explain,
    gradients,
    layers,
    optimizers,
    regularizers,
    signals,
)

__version__ = "0.1.0"

__all__ = [
    "callbacks",
    "controllers",
    "core",
    "data",
    "distribute",
    "explain",
    "gradients",
    "layers",
    "optimizers",
    "regularizers",
    "signals",
]
