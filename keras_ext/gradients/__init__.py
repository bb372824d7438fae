"""Gradient transforms, for `keras_ext.optimizers.GradientPipeline`."""

from keras_ext._engine._after_update import AfterUpdate
from keras_ext._engine._clip_by_group_norm import ClipByGroupNorm
from keras_ext._engine._gradient_transform import GradientTransform
from keras_ext._engine._skip_non_finite import SkipNonFinite
from keras_ext._engine._update_gate import UpdateGate
from keras_ext._engine._update_scale import UpdateScale
from keras_ext.gradients.clip._ada_gc import AdaGC
from keras_ext.gradients.clip._adaptive_clip import AdaptiveClip
from keras_ext.gradients.clip._auto_clip import AutoClip
from keras_ext.gradients.clip._clip_by_global_norm import ClipByGlobalNorm
from keras_ext.gradients.clip._clip_by_norm import ClipByNorm
from keras_ext.gradients.clip._clip_by_value import ClipByValue
from keras_ext.gradients.clip._clip_update_rms import ClipUpdateRMS
from keras_ext.gradients.clip._coordinate_clip import CoordinateClip
from keras_ext.gradients.clip._z_clip import ZClip
from keras_ext.gradients.gate._skip_spikes import SkipSpikes
from keras_ext.gradients.normalize._centralize import Centralize
from keras_ext.gradients.normalize._normalize_by_layer import NormalizeByLayer
from keras_ext.gradients.normalize._standardize import Standardize
from keras_ext.gradients.perturb._add_noise import AddNoise
from keras_ext.gradients.perturb._delay_gradients import DelayGradients
from keras_ext.gradients.scale._freeze import Freeze
from keras_ext.gradients.scale._layerwise_scale import LayerwiseScale
from keras_ext.gradients.scale._trust_ratio import TrustRatio

__all__ = [
    "AdaGC",
    "AdaptiveClip",
    "AddNoise",
    "AfterUpdate",
    "AutoClip",
    "Centralize",
    "ClipByGlobalNorm",
    "ClipByGroupNorm",
    "ClipByNorm",
    "ClipByValue",
    "ClipUpdateRMS",
    "CoordinateClip",
    "DelayGradients",
    "Freeze",
    "GradientTransform",
    "LayerwiseScale",
    "NormalizeByLayer",
    "SkipNonFinite",
    "SkipSpikes",
    "Standardize",
    "TrustRatio",
    "UpdateGate",
    "UpdateScale",
    "ZClip",
]
