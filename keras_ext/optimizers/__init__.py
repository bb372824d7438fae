"""Optimizers, and the pipeline that shapes the gradient of another optimizer."""

from keras_ext._anatomy._unit_axes import unit_axes
from keras_ext._engine._gradient_pipeline import GradientPipeline

__all__ = ["GradientPipeline", "unit_axes"]
