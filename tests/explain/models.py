"""Functions whose Shapley values are known, as models, and some that are not."""

import keras
import numpy as np
from keras import layers, ops


def linear(weights):
    """A weighted sum."""
    model = keras.Sequential([keras.Input((len(weights),)), layers.Dense(1)])
    model.set_weights([np.reshape(weights, (-1, 1)), np.zeros(1)])
    return model


@keras.saving.register_keras_serializable("tests")
class Formula(keras.Model):
    """A subclassed model that computes a formula of its columns."""

    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def call(self, inputs):
        columns = [inputs[:, i] for i in range(inputs.shape[1])]
        return ops.expand_dims(self.formula(*columns), 1)


def perceptron(features=6, outputs=1, activation=None):
    """A small network with weights large enough to bend."""
    model = keras.Sequential(
        [
            keras.Input((features,)),
            layers.Dense(12, "tanh"),
            layers.Dense(8, "relu"),
            layers.Dense(outputs, activation),
        ]
    )
    for weight in model.weights:
        weight.assign(1.5 * weight)
    return model


def convnet():
    """A classifier of images of 4 x 4 pixels into three."""
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(3, "softmax"),
        ]
    )


def two_inputs(as_dictionary=True):
    """A number and some tokens in, a number and a class out."""
    number = keras.Input((2,), name="number")
    tokens = keras.Input((3,), dtype="int32", name="tokens")
    embedded = layers.Flatten()(layers.Embedding(7, 2, name="words")(tokens))
    hidden = layers.Dense(5, "tanh")(layers.Concatenate()([number, embedded]))
    outputs = [
        layers.Dense(1, name="size")(hidden),
        layers.Dense(2, name="kind")(hidden),
    ]
    if as_dictionary:
        inputs = {"number": number, "tokens": tokens}
        return keras.Model(inputs, {"size": outputs[0], "kind": outputs[1]})
    return keras.Model([number, tokens], outputs)


def outputs_of(model, x):
    """What a model puts out, as arrays. `predict` would compile it for one call."""
    return keras.tree.map_structure(np.asarray, model(x))


def normal(rows, *shape, seed=0):
    """Standard normal numbers."""
    return np.random.default_rng(seed).normal(size=(rows, *shape)).astype("float32")
