"""Optimizers, and the pipeline that shapes the gradient of another optimizer."""

from keras_ext.optimizers._gradient_pipeline import GradientPipeline

__all__ = ["GradientPipeline"]
