"""Gradient transforms, for `keras_ext.optimizers.GradientPipeline`."""

from keras_ext.gradients._ada_gc import AdaGC
from keras_ext.gradients._adaptive_clip import AdaptiveClip
from keras_ext.gradients._add_noise import AddNoise
from keras_ext.gradients._auto_clip import AutoClip
from keras_ext.gradients._centralize import Centralize
from keras_ext.gradients._clip_by_global_norm import ClipByGlobalNorm
from keras_ext.gradients._clip_by_norm import ClipByNorm
from keras_ext.gradients._clip_by_value import ClipByValue
from keras_ext.gradients._clip_update_rms import ClipUpdateRMS
from keras_ext.gradients._coordinate_clip import CoordinateClip
from keras_ext.gradients._delay_gradients import DelayGradients
from keras_ext.gradients._freeze import Freeze
from keras_ext.gradients._gradient_transform import GradientTransform
from keras_ext.gradients._layerwise_scale import LayerwiseScale
from keras_ext.gradients._norm_clip import NormClip
from keras_ext.gradients._normalize_by_layer import NormalizeByLayer
from keras_ext.gradients._skip_non_finite import SkipNonFinite
from keras_ext.gradients._skip_spikes import SkipSpikes
from keras_ext.gradients._standardize import Standardize
from keras_ext.gradients._z_clip import ZClip

__all__ = [
    "AdaGC",
    "AdaptiveClip",
    "AddNoise",
    "AutoClip",
    "Centralize",
    "ClipByGlobalNorm",
    "ClipByNorm",
    "ClipByValue",
    "ClipUpdateRMS",
    "CoordinateClip",
    "DelayGradients",
    "Freeze",
    "GradientTransform",
    "LayerwiseScale",
    "NormClip",
    "NormalizeByLayer",
    "SkipNonFinite",
    "SkipSpikes",
    "Standardize",
    "ZClip",
]
