"""Regularizers for models that exist."""

import keras

from keras_ext._anatomy._sublayers import sublayers, weight_paths
from keras_ext._core._checks import require, takes
from keras_ext._core._pattern import check_pattern, is_selected, require_some
from keras_ext._core._typing import Pattern, Variable


def attach(
    model: keras.Model,
    regularizer: keras.Regularizer | str | None,
    *,
    include: Pattern = None,
    exclude: Pattern = None,
) -> list[str]:
    """Gives weights of an existing model a regularizer.

    From then on the losses of the model contain its penalty; the next `fit` traces a
    new step. It replaces any regularizer that a weight has. A live one, such as
    `keras_ext.regularizers.L2`, or one made live by `keras_ext.make_live`, can change
    afterwards; all weights that it is attached to share its strengths.

    It is saved and cloned with the model where the layer has an argument for it, such
    as `kernel_regularizer`. Weights of layers inside attention layers, and weights of
    custom layers, have none: attach it again after loading.

    Args:
        model: A built model.
        regularizer: The regularizer, or its name in Keras. None takes away those that
            are there.
        include: Which trainable weights: a regular expression that is searched in the
            path within the model, such as `"block/dense/kernel"`, a list of them, or a
            function of the variable. None means all.
        exclude: Which are left out, in the same form. None means none.

    Returns:
        The paths of the weights within the model.

    Raises:
        ValueError: If the model is not built, or no weight matches.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> dense = keras.layers.Dense(3, kernel_initializer="ones", name="dense")
        >>> model = keras.Sequential([keras.Input((2,)), dense], name="model")
        >>> kx.regularizers.attach(model, kx.regularizers.L2(0.5), include="kernel")
        ['dense/kernel']
        >>> [float(loss) for loss in model.losses]
        [3.0]
    """
    check_pattern("include", include)
    check_pattern("exclude", exclude)
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    require(model.built, "model.built", model.built, "True")
    regularizer = keras.regularizers.get(regularizer)
    valid = regularizer is None or takes(regularizer, 1)
    expected = "a regularizer, its name in Keras or None"
    require(valid, "regularizer", regularizer, expected)
    paths = weight_paths(model)
    chosen = [
        id(v)
        for v in model.trainable_variables
        if is_selected(v, include, exclude, paths[id(v)])
    ]
    every = sorted(paths.values())
    require_some(chosen, include, exclude, what="weight", paths=every)
    attach_to(model, set(chosen), regularizer)
    return [paths[i] for i in chosen]


def attach_to(
    model: keras.Model, chosen: set[int], regularizer: keras.Regularizer | None
) -> None:
    """Attaches a regularizer to the variables with these identities."""
    for variable in model.trainable_variables:
        if id(variable) in chosen:
            variable.regularizer = regularizer
    for layer in sublayers(model):
        _note_in(layer, chosen, regularizer)
    # Compiled steps have the penalties of before in them.
    model.train_function = model.test_function = None


def _note_in(
    layer: keras.Layer, chosen: set[int], regularizer: keras.Regularizer | None
) -> None:
    """Puts the regularizer where `get_config` of the layer looks for it."""
    for value in list(vars(layer).values()):
        if id(value) in chosen:
            for name in _arguments(value):
                if hasattr(layer, name):
                    setattr(layer, name, regularizer)
                    break


def _arguments(variable: Variable) -> list[str]:
    """How the argument for the regularizer of a variable may be called."""
    name = variable.name
    # Keras has `recurrent_regularizer` for `recurrent_kernel`, and so on.
    names = [name, name.removesuffix("_kernel")]
    if name == "kernel":
        # `DepthwiseConv2D` calls its weight so, and its arguments otherwise.
        names.append("depthwise")
    return [f"{name}_regularizer" for name in names]
