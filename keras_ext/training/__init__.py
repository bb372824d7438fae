"""Other objectives than the loss that was compiled, hung on a model for one `fit`."""

from keras_ext.training._curvature import Curvature
from keras_ext.training._objective import Objective
from keras_ext.training._sharpness_aware import SharpnessAware

__all__ = ["Curvature", "Objective", "SharpnessAware"]
