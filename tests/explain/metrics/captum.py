"""A model and attributions for which captum has measured."""

from pathlib import Path

import keras
import numpy as np
import shap

from keras_ext.explain import Explainer

REFERENCE = np.load(Path(__file__).parents[2] / "fixtures" / "captum_metrics.npz")


def explainer(method="integrated_gradients"):
    """An explainer of the second output of the model."""
    d = REFERENCE
    layers = [keras.layers.Dense(8, "tanh"), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    model.set_weights([d["w1"], d["b1"], d["w2"], d["b2"]])
    return Explainer(model, d["baseline"], method=method, outputs=1)


def explanation(name):
    """Attributions of captum."""
    return shap.Explanation(REFERENCE[name], base_values=np.zeros(4))
