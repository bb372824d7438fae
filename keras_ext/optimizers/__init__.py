"""Optimizers, and the pipeline that shapes the gradient of another optimizer."""

from keras_ext._anatomy._unit_axes import unit_axes
from keras_ext._engine._gradient_pipeline import GradientPipeline
from keras_ext.optimizers._lamb import LAMB
from keras_ext.optimizers._prodigy import Prodigy
from keras_ext.optimizers._radam import RAdam

__all__ = ["GradientPipeline", "LAMB", "Prodigy", "RAdam", "unit_axes"]
