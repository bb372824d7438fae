"""Policies that decide by how much to multiply the batch size."""

from keras_ext.controllers.batch_size._noise_scale_growth import NoiseScaleGrowth
from keras_ext.controllers.batch_size._staged import Staged

__all__ = ["NoiseScaleGrowth", "Staged"]
