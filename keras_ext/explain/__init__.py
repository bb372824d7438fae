"""Explanations of what a model says; shap and matplotlib are imported when used."""

from keras_ext.explain import groups, maps, metrics, plots
from keras_ext.explain._as_function import as_function
from keras_ext.explain._explain_during_training import ExplainDuringTraining
from keras_ext.explain._explain_words import explain_words
from keras_ext.explain._explainer import Explainer
from keras_ext.explain._safe_shap import safe_shap
from keras_ext.explain._save_report import save_report
from keras_ext.explain._split_at import split_at

__all__ = [
    "ExplainDuringTraining",
    "Explainer",
    "as_function",
    "explain_words",
    "groups",
    "maps",
    "metrics",
    "plots",
    "safe_shap",
    "save_report",
    "split_at",
]
