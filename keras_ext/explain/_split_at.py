"""A model in two parts, to explain outputs by what a hidden layer says."""

import keras

from keras_ext._core._checks import require
from keras_ext._core._typing import Data
from keras_ext._keras._functional import is_graph


def split_at(
    model: keras.Model, layer: keras.Layer | str
) -> tuple[keras.Model, keras.Model]:
    """Splits a model after a hidden layer, to explain outputs by its activations.

    Any explainer can then explain by neurons, channels or concepts instead of inputs:
    give it the second part, and the first part's outputs for the rows and the
    background.

    Args:
        model: A functional or `Sequential` model.
        layer: One of its layers, or its name. All that reaches the output has to pass
            it: of a residual block, take the addition. A layer of a model inside the
            model can be had by splitting that one.

    Returns:
        Two models with the layers and weights of `model`, of which nothing is copied:
        from its inputs to the output of the layer, and from there to its outputs.

    Raises:
        ValueError: If the model has no such layer, or it is called more than once, or
            something goes past it.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((3,)),
        ...         keras.layers.Dense(2, "relu", name="hidden"),
        ...         keras.layers.Dense(1),
        ...     ]
        ... )
        >>> x = np.random.default_rng(0).normal(size=(20, 3))
        >>> first, second = kx.explain.split_at(model, "hidden")
        >>> explainer = kx.explain.Explainer(second, first.predict(x, verbose=0))
        >>> explanation = explainer(first.predict(x[:4], verbose=0))
        >>> explanation.values.shape
        (4, 2)
    """
    whole = isinstance(model, keras.Model) and model.built
    rule = "a built functional or Sequential model"
    require(whole and is_graph(model), "model", model, rule)
    found = _find(model, layer)
    sequential = isinstance(model, keras.Sequential)
    inputs = model.inputs[0] if sequential else model.input
    outputs = model.outputs[0] if sequential else model.output
    try:
        between = found.output
        return keras.Model(inputs, between), keras.Model(between, outputs)
    except (AttributeError, ValueError):
        # Keras would speak of its graph.
        raise ValueError(
            "`layer` must be called once, and all that reaches the output pass it. "
            f"Received: layer={found.name!r}. Split where the paths meet, such as at "
            "the addition of a residual block."
        ) from None


def _find(model: keras.Model, layer: Data) -> keras.Layer:
    name = layer if isinstance(layer, str) else None
    same = [own for own in model.layers if own is layer or own.name == name]
    names = [own.name for own in model.layers]
    require(bool(same), "layer", layer, f"a layer of the model, or one of {names}")
    return same[0]
