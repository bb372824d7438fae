"""Signals: what happens while a model trains."""

from keras_ext._engine._gradient_signal import GradientSignal
from keras_ext.signals.gradients._clip_statistics import ClipStatistics
from keras_ext.signals.gradients._gradient_moments import GradientMoments
from keras_ext.signals.gradients._gradient_noise_scale import GradientNoiseScale
from keras_ext.signals.gradients._gradient_projection import GradientProjection
from keras_ext.signals.gradients._gradient_statistics import GradientStatistics
from keras_ext.signals.gradients._layer_statistics import LayerStatistics
from keras_ext.signals.losses._loss_probe import LossProbe
from keras_ext.signals.losses._overfit_gap import OverfitGap

__all__ = [
    "ClipStatistics",
    "GradientMoments",
    "GradientNoiseScale",
    "GradientProjection",
    "GradientSignal",
    "GradientStatistics",
    "LayerStatistics",
    "LossProbe",
    "OverfitGap",
]
