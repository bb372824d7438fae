"""Explanations of what a model says; shap and matplotlib are imported when used."""

from keras_ext.explain import groups, metrics, plots
from keras_ext.explain._as_function import as_function
from keras_ext.explain._explain_during_training import ExplainDuringTraining
from keras_ext.explain._explainer import Explainer
from keras_ext.explain._maps._attention_rollout import attention_rollout
from keras_ext.explain._maps._grad_cam import grad_cam
from keras_ext.explain._maps._grad_cam_plus_plus import grad_cam_plus_plus
from keras_ext.explain._maps._input_x_gradient import input_x_gradient
from keras_ext.explain._maps._layer_cam import layer_cam
from keras_ext.explain._maps._lime import lime
from keras_ext.explain._maps._lrp import lrp
from keras_ext.explain._maps._occlusion import occlusion
from keras_ext.explain._maps._rise import rise
from keras_ext.explain._maps._saliency import saliency
from keras_ext.explain._maps._smooth_grad import smooth_grad
from keras_ext.explain._safe_shap import safe_shap
from keras_ext.explain._save_report import save_report

__all__ = [
    "ExplainDuringTraining",
    "Explainer",
    "as_function",
    "attention_rollout",
    "grad_cam",
    "grad_cam_plus_plus",
    "groups",
    "input_x_gradient",
    "layer_cam",
    "lime",
    "lrp",
    "metrics",
    "occlusion",
    "plots",
    "rise",
    "safe_shap",
    "saliency",
    "save_report",
    "smooth_grad",
]
