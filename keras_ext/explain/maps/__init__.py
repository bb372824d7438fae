"""Maps of what matters in the inputs, as plain arrays."""

from keras_ext.explain.maps._attention_rollout import attention_rollout
from keras_ext.explain.maps._grad_cam import grad_cam
from keras_ext.explain.maps._grad_cam_plus_plus import grad_cam_plus_plus
from keras_ext.explain.maps._input_x_gradient import input_x_gradient
from keras_ext.explain.maps._layer_cam import layer_cam
from keras_ext.explain.maps._lime import lime
from keras_ext.explain.maps._lrp import lrp
from keras_ext.explain.maps._occlusion import occlusion
from keras_ext.explain.maps._rise import rise
from keras_ext.explain.maps._saliency import saliency
from keras_ext.explain.maps._smooth_grad import smooth_grad

__all__ = [
    "attention_rollout",
    "grad_cam",
    "grad_cam_plus_plus",
    "input_x_gradient",
    "layer_cam",
    "lime",
    "lrp",
    "occlusion",
    "rise",
    "saliency",
    "smooth_grad",
]
