"""Callbacks, for training loops that already exist."""

from keras_ext.callbacks.averaging._snapshot_ensemble import SnapshotEnsemble
from keras_ext.callbacks.averaging._stochastic_weight_averaging import (
    StochasticWeightAveraging,
)
from keras_ext.callbacks.batch_size._batch_size_finder import BatchSizeFinder
from keras_ext.callbacks.batch_size._dynamic_batch_size import DynamicBatchSize
from keras_ext.callbacks.gradients._freeze_converged import (
    FreezeConverged,
)
from keras_ext.callbacks.gradients._gradient_callback import GradientCallback
from keras_ext.callbacks.gradients._gradient_monitor import GradientMonitor
from keras_ext.callbacks.gradients._hypergradient_learning_rate import (
    HypergradientLearningRate,
)
from keras_ext.callbacks.gradients._layerwise_adaptive_clipping import (
    LayerwiseAdaptiveClipping,
)
from keras_ext.callbacks.gradients._layerwise_decay import LayerwiseDecay
from keras_ext.callbacks.local._elastic_averaging import ElasticAveraging
from keras_ext.callbacks.local._local_sgd import LocalSGD
from keras_ext.callbacks.local._post_local_sgd import PostLocalSGD
from keras_ext.callbacks.regularization._adaptive_dropout import AdaptiveDropout
from keras_ext.callbacks.regularization._adaptive_regularization import (
    AdaptiveRegularization,
)
from keras_ext.callbacks.regularization._dropout_batch_norm_balance import (
    DropoutBatchNormBalance,
)
from keras_ext.callbacks.regularization._recalibrate_batch_norm import (
    RecalibrateBatchNorm,
)
from keras_ext.callbacks.schedules._bandit_learning_rate import BanditLearningRate
from keras_ext.callbacks.schedules._gradual_unfreezing import GradualUnfreezing
from keras_ext.callbacks.schedules._hyperparameter_scheduler import (
    HyperparameterScheduler,
)
from keras_ext.callbacks.schedules._learning_rate_finder import LearningRateFinder
from keras_ext.callbacks.schedules._learning_rate_multiplier import (
    LearningRateMultiplier,
)
from keras_ext.callbacks.schedules._momentum_schedule import MomentumSchedule
from keras_ext.callbacks.schedules._one_cycle import OneCycle
from keras_ext.callbacks.schedules._reinforced_learning_rate import (
    ReinforcedLearningRate,
)
from keras_ext.callbacks.stopping._evidence_based_early_stopping import (
    EvidenceBasedEarlyStopping,
)
from keras_ext.callbacks.stopping._gradient_disparity_early_stopping import (
    GradientDisparityEarlyStopping,
)
from keras_ext.callbacks.stopping._gradient_norm_early_stopping import (
    GradientNormEarlyStopping,
)
from keras_ext.callbacks.stopping._label_wave_early_stopping import (
    LabelWaveEarlyStopping,
)
from keras_ext.callbacks.stopping._learning_curve_early_stopping import (
    LearningCurveEarlyStopping,
)
from keras_ext.callbacks.stopping._prechelt_early_stopping import PrecheltEarlyStopping
from keras_ext.callbacks.stopping._stop_when import StopWhen

__all__ = [
    "AdaptiveDropout",
    "AdaptiveRegularization",
    "BanditLearningRate",
    "BatchSizeFinder",
    "DropoutBatchNormBalance",
    "DynamicBatchSize",
    "ElasticAveraging",
    "EvidenceBasedEarlyStopping",
    "FreezeConverged",
    "GradientCallback",
    "GradientDisparityEarlyStopping",
    "GradientMonitor",
    "GradientNormEarlyStopping",
    "GradualUnfreezing",
    "HypergradientLearningRate",
    "HyperparameterScheduler",
    "LabelWaveEarlyStopping",
    "LayerwiseAdaptiveClipping",
    "LayerwiseDecay",
    "LearningCurveEarlyStopping",
    "LearningRateFinder",
    "LearningRateMultiplier",
    "LocalSGD",
    "MomentumSchedule",
    "OneCycle",
    "PostLocalSGD",
    "PrecheltEarlyStopping",
    "RecalibrateBatchNorm",
    "ReinforcedLearningRate",
    "SnapshotEnsemble",
    "StochasticWeightAveraging",
    "StopWhen",
]
