"""The ground floor: live hyperparameters, unit axes, optional imports."""

from keras_ext.core._extras import import_extra
from keras_ext.core._hyper_variable import HyperVariable, hyper_variables
from keras_ext.core._live_attributes import LiveAttributes
from keras_ext.core._make_live import make_live
from keras_ext.core._unit_axes import unit_axes

__all__ = [
    "HyperVariable",
    "LiveAttributes",
    "hyper_variables",
    "import_extra",
    "make_live",
    "unit_axes",
]
