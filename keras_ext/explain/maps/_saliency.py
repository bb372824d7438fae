"""The gradient of an output at the inputs."""

import keras
import tensorflow as tf

from keras_ext._core._checks import flag
from keras_ext._core._typing import Data, OutputChoice, Tensor
from keras_ext.explain._leaves import Leaves
from keras_ext.explain.maps._question import Map, Question


def saliency(
    model: keras.Model,
    x: Data,
    *,
    outputs: OutputChoice = "top",
    absolute: bool = True,
    batch_size: int | str = "auto",
    jit: bool = False,
) -> Map:
    """Maps how strongly an output reacts to small changes of each element.

    One gradient for each row and output. It says what would change the output, and not
    what has made it what it is; for that, see `input_x_gradient` or `Explainer`. Tokens
    have what their embeddings have, summed over the embedding.

    Args:
        model: A built model of any kind; it is called in inference mode.
        x: The rows, as the model takes them: an array, or a list, tuple or dictionary
            of arrays, or a DataFrame.
        outputs: Which outputs, as for `Explainer`. Best those before a softmax, whose
            classes pull on each other. Defaults to `"top"`.
        absolute: Whether the sign is left out. Defaults to `True`.
        batch_size: How many rows the model gets at a time, or `"auto"` for a number
            that follows from the memory that a row takes. Defaults to `"auto"`.
        jit: Whether to compile with XLA. Defaults to `False`.

    Returns:
        Array of the shape of `x`; for several inputs a dictionary of such, by name. If
        there are several outputs, they have an axis of their own, the last.

    Raises:
        ValueError: If an argument is not of this form, or there is no gradient.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[1.0], [-2.0], [0.0]]), np.zeros(1)])
        >>> print(kx.explain.maps.saliency(model, np.ones((1, 3))))
        [[1. 2. 0.]]

    References:
        - [Simonyan et al., 2013](https://arxiv.org/abs/1312.6034)
    """
    absolute = flag(absolute, "absolute")
    question = Question(model, x, outputs, batch_size, jit)
    leaves = Leaves(question.function, question.parts)

    def compute(parts: list[Tensor], which: Tensor) -> Tensor:
        _, gradients = leaves.gradients(leaves(parts), parts, which)
        found = [[tf.abs(g) if absolute else g for g in row] for row in gradients]
        return tf.stack([leaves.elements(row) for row in found], axis=-1)

    return question.shaped(question.mapped(question.compiled(compute)))
