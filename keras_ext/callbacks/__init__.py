"""Callbacks, for training loops that already exist."""

from keras_ext.callbacks._adaptive_dropout import AdaptiveDropout
from keras_ext.callbacks._detach import detach
from keras_ext.callbacks._diagnose import diagnose
from keras_ext.callbacks._dynamic_batch_size import DynamicBatchSize
from keras_ext.callbacks._gradient_callback import GradientCallback
from keras_ext.callbacks._gradient_monitor import GradientMonitor
from keras_ext.callbacks._gradient_norm_early_stopping import (
    GradientNormEarlyStopping,
)
from keras_ext.callbacks._gradual_unfreezing import GradualUnfreezing
from keras_ext.callbacks._layerwise_adaptive_clipping import (
    LayerwiseAdaptiveClipping,
)

__all__ = [
    "AdaptiveDropout",
    "DynamicBatchSize",
    "GradientCallback",
    "GradientMonitor",
    "GradientNormEarlyStopping",
    "GradualUnfreezing",
    "LayerwiseAdaptiveClipping",
    "detach",
    "diagnose",
]
