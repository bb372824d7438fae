"""How sure a model is."""

from keras_ext.uncertainty._mc_predict import mc_predict

__all__ = ["mc_predict"]
