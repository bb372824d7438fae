"""Gradient transforms, for `keras_ext.optimizers.GradientPipeline`."""

from keras_ext.gradients._adaptive_clip import AdaptiveClip
from keras_ext.gradients._gradient_transform import GradientTransform
from keras_ext.gradients._norm_clip import NormClip

__all__ = ["AdaptiveClip", "GradientTransform", "NormClip"]
