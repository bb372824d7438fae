"""How many floating point operations a prediction is."""

import logging

import keras
import tensorflow as tf

from keras_ext._core._checks import require


def float_operations(model: keras.Model) -> int:
    """Counts the floating point operations of a prediction of one row.

    As the profiler of TensorFlow counts them in the graph: a multiplication and an
    addition are two. What a graph repeats by a loop it counts once, so that a model
    with recurrent layers is refused, unless they have `unroll=True`.

    Args:
        model: A built model whose inputs have known shapes.

    Returns:
        The number.

    Raises:
        ValueError: If the shapes of the inputs are not known, or there is a loop.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> layers = [keras.Input((8,)), keras.layers.Dense(4, use_bias=False)]
        >>> kx.diagnostics.float_operations(keras.Sequential(layers))
        64
    """
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    specs = [
        tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype)
        for tensor in getattr(model, "inputs", None) or []
    ]
    known = bool(specs) and all(None not in spec.shape for spec in specs)
    require(known, "model", model.name, "one whose inputs have known shapes")
    structure = specs[0] if len(specs) == 1 else specs
    traced = tf.function(lambda x: model(x, training=False))
    graph = traced.get_concrete_function(structure).graph
    kinds = {operation.type for operation in graph.get_operations()}
    has_loop = any("While" in kind for kind in kinds)
    hint = "Give its recurrent layers unroll=True."
    require(not has_loop, "model", model.name, "one without loops", hint)
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it says that it is of TensorFlow 1
    try:
        found = tf.compat.v1.profiler.profile(graph, options=options)
    finally:
        logger.setLevel(level)
    return int(found.total_float_ops)
