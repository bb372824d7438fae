"""How many floating point operations a prediction is."""

import keras

from keras_ext._anatomy._flops import flops
from keras_ext._core._checks import require


def float_operations(model: keras.Model) -> int:
    """Counts the floating point operations of a prediction of one row.

    Those of the products of dense layers, convolutions, attention and recurrent layers:
    a multiplication and an addition are two. What works on single entries, such as
    activations and normalization, is left out, as is common.

    Args:
        model: A built model whose inputs have known shapes.

    Returns:
        The number.

    Raises:
        ValueError: If the shapes of the inputs are not known.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> layers = [keras.Input((8,)), keras.layers.Dense(4)]
        >>> kx.diagnostics.float_operations(keras.Sequential(layers))
        64
    """
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    found = flops(model)
    known = found is not None
    require(known, "model", model.name, "one whose inputs have known shapes")
    return int(found or 0)
