"""Signals: what happens while a model trains."""

from keras_ext.signals._clip_statistics import ClipStatistics
from keras_ext.signals._gradient_moments import GradientMoments
from keras_ext.signals._gradient_noise_scale import GradientNoiseScale
from keras_ext.signals._gradient_projection import GradientProjection
from keras_ext.signals._gradient_signal import GradientSignal
from keras_ext.signals._gradient_statistics import GradientStatistics
from keras_ext.signals._layer_statistics import LayerStatistics
from keras_ext.signals._loss_probe import LossProbe
from keras_ext.signals._overfit_gap import OverfitGap

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
