"""Every method on every kind of model: it adds up, or says what to do instead."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_ext.explain import Explainer
from tests.explain.models import Formula, normal, outputs_of, perceptron, two_inputs
from tests.thorough import thorough_but


def hidden(*inner, shape=(6,)):
    """A model with something in the middle."""
    return keras.Sequential(
        [keras.Input(shape), layers.Dense(5), *inner, layers.Flatten(), layers.Dense(1)]
    )


def sequence(*inner):
    return keras.Sequential([keras.Input((5, 3)), *inner, layers.Dense(1)])


def attention(tokens=False):
    inputs = keras.Input((4,), dtype="int32") if tokens else keras.Input((4, 3))
    x = layers.Embedding(9, 4)(inputs) if tokens else layers.Dense(4)(inputs)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 2)(x, x))
    return keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))


def residual():
    inputs = keras.Input((5, 5, 1))
    x = layers.BatchNormalization()(layers.Conv2D(3, 3, padding="same")(inputs))
    y = layers.SeparableConv2D(3, 3, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalMaxPooling2D()(x + y)))


def digits():
    return keras.Sequential(
        [
            keras.Input((5, 5, 1)),
            layers.Conv2D(3, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(),
            layers.Conv2D(3, 2, activation="relu"),
            layers.Flatten(),
            layers.Dense(3, "softmax"),
        ]
    )


def gate():
    inputs = keras.Input((6,))
    return keras.Model(
        inputs,
        layers.Dense(1)(layers.Dense(4)(inputs) * layers.Dense(4, "sigmoid")(inputs)),
    )


def half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    return perceptron()


MODELS = {
    "sigmoid": lambda: perceptron(6, 1, "sigmoid"),
    "logits": perceptron,
    "few features": lambda: perceptron(3),
    "two classes": lambda: perceptron(6, 2, "softmax"),
    "subclassed": lambda: Formula(lambda a, b, c, d, e, f: a * b - c * d + e),
    "convolutions": digits,
    "LSTM": lambda: sequence(layers.LSTM(4)),
    "GRU": lambda: sequence(layers.GRU(4)),
    "bidirectional": lambda: sequence(layers.Bidirectional(layers.LSTM(3))),
    "unrolled": lambda: sequence(layers.LSTM(4, unroll=True)),
    "attention": attention,
    "layer normalization": lambda: hidden(layers.LayerNormalization()),
    "tokens": lambda: attention(tokens=True),
    "list of inputs": lambda: two_inputs(as_dictionary=False),
    "dictionary of inputs": two_inputs,
    "two outputs": lambda: keras.Model(
        x := keras.Input((6,)), [layers.Dense(1)(x), layers.Dense(2, "tanh")(x)]
    ),
    "batch normalization": lambda: hidden(
        layers.BatchNormalization(), layers.Dropout(0.5)
    ),
    "residual": residual,
    "leaky ReLU": lambda: hidden(layers.LeakyReLU()),
    "gate": gate,
    "half precision": half_precision,
    **{
        name: lambda name=name: hidden(layers.Activation(name))
        for name in (
            *("gelu", "relu6", "hard_sigmoid", "silu", "selu", "elu"),
            *("softplus", "mish"),
        )
    },
}


METHODS = ("permutation", "expected_gradients", "deep")
# Alike but for a layer inside, which only "deep" looks at. The others have "gelu".
OF_LAYERS = {
    *("relu6", "hard_sigmoid", "silu", "selu", "elu", "softplus", "mish"),
    *("leaky ReLU", "layer normalization", "batch normalization"),
}


def rows(model, count, seed):
    """Rows that a model takes."""
    rng = np.random.default_rng(seed)

    def part(tensor):
        shape = (count, *tensor.shape[1:])
        if "int" in tensor.dtype:
            return rng.integers(0, 7, shape)
        return rng.normal(size=shape).astype("float32")

    if isinstance(model, Formula):
        return normal(count, 6, seed=seed)
    if isinstance(model, keras.Sequential):
        return part(model.inputs[0])
    return keras.tree.map_structure(part, model.input)


# A loop, attention, a formula without layers, and what "deep" has a rule for; images
# and structures of inputs are elsewhere.
REPRESENTATIVE = {"LSTM", "attention", "subclassed", "gate", "gelu"}


@pytest.mark.parametrize("name", thorough_but(REPRESENTATIVE, MODELS))
def test_values_add_up(name):
    model = MODELS[name]()
    x, background = rows(model, 3, 1), rows(model, 4, 2)
    tolerance = 3e-3 if name == "half precision" else 2e-5
    methods = ["deep"] if name in OF_LAYERS else METHODS
    outputs = keras.tree.flatten(outputs_of(model, x))
    outputs = np.concatenate([y.reshape(3, -1) for y in outputs], axis=1)
    for method in methods:
        explainer = Explainer(model, background, method=method)
        found = explainer(x, *([8] if method != "deep" else []))
        assert np.isfinite(found.values).all(), method
        values = found.values.reshape(3, -1, outputs.shape[1])
        total = values.sum(axis=1) + found.base_values.reshape(outputs.shape)
        np.testing.assert_allclose(
            total, outputs, rtol=tolerance, atol=tolerance, err_msg=method
        )


def test_there_are_as_many_kinds_as_were_promised():
    assert len(MODELS) == 29
