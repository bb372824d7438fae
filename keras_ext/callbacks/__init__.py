"""Callbacks, for training loops that already exist."""

from keras_ext.callbacks._adaptive_dropout import AdaptiveDropout
from keras_ext.callbacks._adaptive_regularization import AdaptiveRegularization
from keras_ext.callbacks._batch_size_finder import BatchSizeFinder
from keras_ext.callbacks._detach import detach
from keras_ext.callbacks._diagnose import diagnose
from keras_ext.callbacks._dropout_batch_norm_balance import DropoutBatchNormBalance
from keras_ext.callbacks._dynamic_batch_size import DynamicBatchSize
from keras_ext.callbacks._evidence_based_early_stopping import (
    EvidenceBasedEarlyStopping,
)
from keras_ext.callbacks._find_batch_size import find_batch_size
from keras_ext.callbacks._gradient_callback import GradientCallback
from keras_ext.callbacks._gradient_disparity_early_stopping import (
    GradientDisparityEarlyStopping,
)
from keras_ext.callbacks._gradient_monitor import GradientMonitor
from keras_ext.callbacks._gradient_norm_early_stopping import (
    GradientNormEarlyStopping,
)
from keras_ext.callbacks._gradient_variance_early_stopping import (
    GradientVarianceEarlyStopping,
)
from keras_ext.callbacks._gradual_unfreezing import GradualUnfreezing
from keras_ext.callbacks._hyper_variable_scheduler import HyperVariableScheduler
from keras_ext.callbacks._label_wave_early_stopping import LabelWaveEarlyStopping
from keras_ext.callbacks._layerwise_adaptive_clipping import (
    LayerwiseAdaptiveClipping,
)
from keras_ext.callbacks._layerwise_gradient_stopping import LayerwiseGradientStopping
from keras_ext.callbacks._prechelt_early_stopping import PrecheltEarlyStopping
from keras_ext.callbacks._recalibrate_batch_norm import RecalibrateBatchNorm
from keras_ext.callbacks._stop_when import StopWhen

__all__ = [
    "AdaptiveDropout",
    "AdaptiveRegularization",
    "BatchSizeFinder",
    "DropoutBatchNormBalance",
    "DynamicBatchSize",
    "EvidenceBasedEarlyStopping",
    "GradientCallback",
    "GradientDisparityEarlyStopping",
    "GradientMonitor",
    "GradientNormEarlyStopping",
    "GradientVarianceEarlyStopping",
    "GradualUnfreezing",
    "HyperVariableScheduler",
    "LabelWaveEarlyStopping",
    "LayerwiseAdaptiveClipping",
    "LayerwiseGradientStopping",
    "PrecheltEarlyStopping",
    "RecalibrateBatchNorm",
    "StopWhen",
    "detach",
    "diagnose",
    "find_batch_size",
]
