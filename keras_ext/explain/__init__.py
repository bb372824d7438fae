"""Explanations of what a model says; shap and matplotlib are imported when used."""

from keras_ext.explain import groups, metrics
from keras_ext.explain._as_function import as_function
from keras_ext.explain._explainer import Explainer
from keras_ext.explain._safe_shap import safe_shap

__all__ = ["Explainer", "as_function", "groups", "metrics", "safe_shap"]
