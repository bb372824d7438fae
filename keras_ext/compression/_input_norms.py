"""How large what layers take is, for each channel."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import keras
import numpy as np
from keras import ops

from keras_ext._anatomy._sublayers import sublayers
from keras_ext._core._typing import Data, Function, Layer, Tensor, Variable

_KINDS = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)


def kernel_layers(model: keras.Model) -> dict[int, Layer]:
    """From the `id` of kernels whose inputs are known to their layers."""
    return {
        id(layer.kernel): layer
        for layer in sublayers(model)
        if isinstance(layer, _KINDS)
        and layer.built
        and isinstance(layer.kernel, keras.Variable)
        # With groups a kernel has fewer inputs than what its layer takes.
        and getattr(layer, "groups", 1) == 1
        and getattr(layer, "data_format", "") != "channels_first"
    }


def reason_without_inputs(known: dict[int, Layer], variable: Variable) -> str | None:
    """Why a weight cannot be scored by what its layer takes, or None."""
    if id(variable) in known:
        return None
    return "what its entries are multiplied with is not known"


def input_norms(model: keras.Model, batches: Sequence[Data]) -> dict[int, np.ndarray]:
    """The norm of each channel that a kernel is applied to, over rows and places.

    Args:
        model: The model, which is called eagerly.
        batches: What it takes.

    Returns:
        From the `id` of kernels to vectors; zeros where a layer was not called.
    """
    layers = kernel_layers(model)
    squares = {
        key: np.zeros(layer.kernel.shape[-2], "float64")
        for key, layer in layers.items()
    }

    def add(key: int, inputs: Tensor) -> None:
        # In float64: a sum of very many squares stops growing in float32.
        values = ops.convert_to_numpy(ops.cast(inputs, "float32")).astype("float64")
        squares[key] += np.square(values).reshape(-1, values.shape[-1]).sum(axis=0)

    with _watched(layers, add):
        for x in batches:
            model(x, training=False)
    return {key: np.sqrt(sums).astype("float32") for key, sums in squares.items()}


@contextmanager
def _watched(
    layers: dict[int, Layer], add: Callable[[int, Tensor], None]
) -> Iterator[None]:
    """Tells what layers are called with."""

    def watching(key: int, call: Function) -> Function:
        def watched(inputs: Tensor, *args: object, **kwargs: object) -> Data:
            add(key, inputs)
            return call(inputs, *args, **kwargs)

        return watched

    for key, layer in layers.items():
        # Past Keras's attribute tracking.
        object.__setattr__(layer, "call", watching(key, layer.call))
    try:
        yield
    finally:
        for layer in layers.values():
            object.__delattr__(layer, "call")


def weighted(weight: Tensor, norms: Tensor) -> Tensor:
    """The sizes of entries times the norms of what they are multiplied with."""
    # Wanda, |W| * ||x||; the last two axes of a kernel are inputs and outputs.
    return ops.abs(ops.cast(weight, "float32")) * norms[:, None]
