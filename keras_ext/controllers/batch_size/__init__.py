"""Policies that choose the batch size."""

from keras_ext.controllers.batch_size._ad_ada_grad import AdAdaGrad
from keras_ext.controllers.batch_size._ada_batch import AdaBatch
from keras_ext.controllers.batch_size._batch_size_policy import (
    BatchSizePolicy,
    Measured,
)
from keras_ext.controllers.batch_size._cabs import CABS
from keras_ext.controllers.batch_size._dont_decay_learning_rate import (
    DontDecayLearningRate,
)
from keras_ext.controllers.batch_size._gradient_diversity import GradientDiversity
from keras_ext.controllers.batch_size._inner_product_test import InnerProductTest
from keras_ext.controllers.batch_size._interleaved import Interleaved
from keras_ext.controllers.batch_size._noise_scale import NoiseScale
from keras_ext.controllers.batch_size._norm_test import NormTest
from keras_ext.controllers.batch_size._on_plateau import OnPlateau
from keras_ext.controllers.batch_size._staged import Staged

__all__ = [
    "AdAdaGrad",
    "AdaBatch",
    "BatchSizePolicy",
    "CABS",
    "DontDecayLearningRate",
    "GradientDiversity",
    "InnerProductTest",
    "Interleaved",
    "Measured",
    "NoiseScale",
    "NormTest",
    "OnPlateau",
    "Staged",
]
