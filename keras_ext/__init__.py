"""Extensions for Keras 3: training that senses, decides and acts.

`import keras_ext` registers every serializable class, so that
`keras.saving.load_model` can find it by its saved name.
"""

from keras_ext import (
    callbacks,
    compression,
    controllers,
    data,
    diagnostics,
    distribute,
    explain,
    gradients,
    layers,
    optimizers,
    regularizers,
    schedules,
    signals,
    training,
    tuner,
    uncertainty,
)
from keras_ext._fit._columns import show_in_progress_bar
from keras_ext._fit._detach import detach
from keras_ext._fit._plot_history import plot_history
from keras_ext._fit._watch_trainings import watch_trainings as _watch_trainings
from keras_ext._keras._backend import (
    warn_unless_tensorflow as _warn_unless_tensorflow,
)
from keras_ext._live._find_hyper_variables import hyper_variables
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext._live._live_attributes import LiveAttributes
from keras_ext._live._make_live import make_live

_warn_unless_tensorflow()
_watch_trainings()

__version__ = "0.1.0"

__all__ = [
    "HyperVariable",
    "LiveAttributes",
    "callbacks",
    "compression",
    "controllers",
    "data",
    "detach",
    "diagnostics",
    "distribute",
    "explain",
    "gradients",
    "hyper_variables",
    "layers",
    "make_live",
    "optimizers",
    "plot_history",
    "regularizers",
    "schedules",
    "show_in_progress_bar",
    "signals",
    "training",
    "tuner",
    "uncertainty",
]
