"""Optimizers, and the pipeline that shapes the gradient of another optimizer."""

from keras_ext._anatomy._unit_axes import unit_axes
from keras_ext._engine._gradient_pipeline import GradientPipeline
from keras_ext.optimizers import operators
from keras_ext.optimizers._compose import compose
from keras_ext.optimizers._fit_lbfgs import fit_lbfgs
from keras_ext.optimizers._lamb import LAMB
from keras_ext.optimizers._prodigy import Prodigy
from keras_ext.optimizers._radam import RAdam
from keras_ext.optimizers.wrappers._admm import ADMM
from keras_ext.optimizers.wrappers._cautious import Cautious
from keras_ext.optimizers.wrappers._lookahead import Lookahead
from keras_ext.optimizers.wrappers._mechanic import Mechanic
from keras_ext.optimizers.wrappers._proximal import Proximal
from keras_ext.optimizers.wrappers._schedule_free import ScheduleFree

__all__ = [
    "ADMM",
    "Cautious",
    "GradientPipeline",
    "LAMB",
    "Lookahead",
    "Mechanic",
    "Prodigy",
    "Proximal",
    "RAdam",
    "ScheduleFree",
    "compose",
    "fit_lbfgs",
    "operators",
    "unit_axes",
]
