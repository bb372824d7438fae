"""How much a model computes for a row."""

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_ext._anatomy._input_rows import as_model_takes
from keras_ext._anatomy._unrolled import unrolled
from keras_ext._core._typing import Tensor


def flops(model: keras.Model) -> int | None:
    """Counts the multiplications and additions of products, for one row.

    Those of dense layers, convolutions, attention and recurrent layers: two for each
    number of a kernel and each place where it is used. What works on single entries,
    such as activations and normalization, is left out, as is common.

    Args:
        model: The model.

    Returns:
        The number; None for a model whose input shapes are not known.

    Examples:
        >>> import keras
        >>> from keras_ext._anatomy._flops import flops
        >>> flops(keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)]))
        30
    """
    inputs = getattr(model, "inputs", None)
    if not inputs or any(n is None for x in inputs for n in x.shape[1:]):
        return None
    specs = [tf.TensorSpec((1, *x.shape[1:]), x.dtype) for x in inputs]
    function = tf.function(
        lambda *rows: model(as_model_takes(model, rows), training=False)
    )
    with unrolled(model):
        graph = function.get_concrete_function(*specs).graph
    library = graph.as_graph_def(add_shapes=True).library
    inner = {f.signature.name: f for f in library.function}
    return sum(_of_operation(op, inner) for op in graph.get_operations())


def _of_operation(op: tf.Operation, inner: dict[str, Any]) -> int:
    if op.type not in ("PartitionedCall", "StatefulPartitionedCall"):
        return _COUNTS[op.type](op) if op.type in _COUNTS else 0
    # Keras puts convolutions with groups into functions of their own, for XLA.
    function = inner[op.get_attr("f").name]
    shapes = {n.name: n.attr["_output_shapes"].list.shape for n in function.node_def}
    total = 0
    for node in function.node_def:
        if node.op.startswith("Conv"):
            (kernel,) = shapes[node.input[1].partition(":")[0]]
            sizes = [axis.size for axis in kernel.dim]
            total += 2 * _size(op.outputs[0]) * math.prod(sizes[:-1])
    return total


def _size(tensor: Tensor) -> int:
    return math.prod(tensor.shape)


def _of_product(op: tf.Operation) -> int:
    a = op.inputs[0].shape
    flag = "transpose_a" if op.type == "MatMul" else "adj_x"
    inner = a[-2] if op.get_attr(flag) else a[-1]
    return 2 * _size(op.outputs[0]) * int(inner)


def _of_convolution(op: tf.Operation) -> int:
    # All axes of the kernel but the last, that of its filters; with groups its
    # channels are those of a group.
    return 2 * _size(op.outputs[0]) * math.prod(op.inputs[1].shape[:-1])


def _of_depthwise(op: tf.Operation) -> int:
    return 2 * _size(op.outputs[0]) * math.prod(op.inputs[1].shape[:2])


def _of_transposed(op: tf.Operation) -> int:
    # Each entry that comes in is spread by the kernel.
    return 2 * _size(op.inputs[2]) * math.prod(op.inputs[1].shape[:-1])


def _of_einsum(op: tf.Operation) -> int:
    if len(op.inputs) != 2:
        return 0
    terms = op.get_attr("equation").decode().partition("->")[0].split(",")
    lengths: dict[str, int] = {}
    for term, tensor in zip(terms, op.inputs, strict=True):
        shape = list(tensor.shape)
        if "..." in term:
            before, _, after = term.partition("...")
            many = len(shape) - len(before) - len(after)
            lengths["..."] = math.prod(shape[len(before) : len(before) + many])
            term = before + after
            shape = shape[: len(before)] + shape[len(before) + many :]
        lengths |= dict(zip(term, shape, strict=True))
    return 2 * math.prod(lengths.values())


_COUNTS: dict[str, Callable[[tf.Operation], int]] = {
    "MatMul": _of_product,
    "BatchMatMul": _of_product,
    "BatchMatMulV2": _of_product,
    "Conv2D": _of_convolution,
    "Conv3D": _of_convolution,
    "Conv": _of_convolution,
    "DepthwiseConv2dNative": _of_depthwise,
    "Conv2DBackpropInput": _of_transposed,
    "Conv3DBackpropInputV2": _of_transposed,
    "Einsum": _of_einsum,
}
