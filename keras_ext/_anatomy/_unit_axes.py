"""Which axes of a weight belong to one output unit."""

from collections.abc import Mapping, Sequence

import keras
from keras import layers

from keras_ext._anatomy._sublayers import sublayers
from keras_ext._core._checks import require
from keras_ext._core._typing import Layer, Variable

Axes = tuple[int, ...]


def default_unit_axes(variable: Variable) -> Axes:
    """Returns the reduction axes of a variable whose layer is unknown.

    Args:
        variable: The weight.

    Returns:
        All axes but the last one, as in the kernels of `Dense` and `Conv2D`; every
        axis for a variable with one axis or none.

    Examples:
        >>> import keras
        >>> from keras_ext._anatomy._unit_axes import default_unit_axes
        >>> default_unit_axes(keras.Variable(keras.ops.ones((3, 3, 8, 16))))
        (0, 1, 2)
    """
    ndim = len(variable.shape)
    return tuple(range(ndim if ndim <= 1 else ndim - 1))


def axes_by_identity(
    variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
) -> dict[int, Axes]:
    """Returns the reduction axes of each variable, from its `id`.

    Weights of models that were built apart and then put into one can have the same
    path; what does not fit a variable is not meant for it.
    """
    found = {}
    for variable in variables:
        axes = _axes_by_path(variable.path, unit_axes)
        if axes is None or max(axes, default=-1) >= len(variable.shape):
            axes = default_unit_axes(variable)
        found[id(variable)] = axes
    return found


def _axes_by_path(path: str, unit_axes: Mapping[str, Axes]) -> Axes | None:
    """The axes listed for a path, or for the one path that ends with it.

    Keras drops the names of `Sequential` models from the paths when it loads a file.
    """
    if path in unit_axes:
        return tuple(unit_axes[path])
    longer = {tuple(a) for p, a in unit_axes.items() if p.endswith(f"/{path}")}
    return longer.pop() if len(longer) == 1 else None


def unit_axes(model: keras.Model) -> dict[str, Axes]:
    """Returns, for every weight, the axes that are reduced for a per-unit norm.

    A unit is the group of weights behind one output of a layer: a column of a `Dense`
    kernel, one filter of a convolution, one row of an embedding, one head dimension of
    an attention projection. Biases, scales and other weights of one axis count as a
    single unit.

    The axes depend on the layer: a transposed convolution keeps its outputs in the
    last axis but one, a depthwise convolution has one filter per channel, an
    `EinsumDense` says it in its equation.

    Args:
        model: A built model.

    Returns:
        A dictionary from the path of a trainable weight to its reduction axes. It
        is plain data, for `GradientPipeline(unit_axes=...)`.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> embedding = keras.layers.Embedding(5, 2, name="words")
        >>> dense = keras.layers.Dense(3, name="dense")
        >>> model = keras.Sequential([keras.Input((4,)), embedding, dense], name="m")
        >>> kx.optimizers.unit_axes(model)["m/words/embeddings"]
        (1,)
        >>> kx.optimizers.unit_axes(model)["m/dense/kernel"]
        (0,)
    """
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    axes = {v.path: default_unit_axes(v) for v in model.trainable_variables}
    for layer in sublayers(model):
        # `sublayers` gives outer layers first, so the layer that owns a variable,
        # and knows what it means, has the last word.
        for variable in _own_variables(layer):
            if variable.path in axes:
                axes[variable.path] = _axes_of(layer, variable)
    return axes


def _own_variables(layer: keras.Layer) -> list[Variable]:
    inner = {id(v) for child in sublayers(layer)[1:] for v in child.trainable_variables}
    return [v for v in layer.trainable_variables if id(v) not in inner]


def _axes_of(layer: keras.Layer, variable: Variable) -> Axes:
    ndim = len(variable.shape)
    every = tuple(range(ndim))
    if ndim <= 1 or variable.name.endswith("bias"):
        # The biases of GRU and MultiHeadAttention have two axes.
        return every
    if "depthwise_kernel" in variable.name or _is_depthwise(layer):
        return every[:-2]
    if isinstance(layer, _TRANSPOSED):
        return (*every[:-2], ndim - 1)
    if isinstance(layer, layers.Embedding):
        return (0,) if "reverse" in variable.name else (ndim - 1,)
    if isinstance(layer, layers.EinsumDense) and variable.name == "kernel":
        return _contracted(layer.equation)
    return default_unit_axes(variable)


_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)


def _is_depthwise(layer: Layer) -> bool:
    return isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D)


def _contracted(equation: str) -> Axes:
    """Axes of the kernel over which `EinsumDense` sums."""
    operands, output = equation.replace(" ", "").split("->")
    kernel = operands.split(",")[1]
    return tuple(i for i, letter in enumerate(kernel) if letter not in output)
