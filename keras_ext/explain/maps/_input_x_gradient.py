"""The inputs times the gradient of an output."""

import keras
import tensorflow as tf

from keras_ext._core._typing import Data, OutputChoice, Tensor
from keras_ext.explain._leaves import Leaves
from keras_ext.explain.maps._question import Map, Question


def input_x_gradient(
    model: keras.Model,
    x: Data,
    *,
    outputs: OutputChoice = "top",
    batch_size: int | str = "auto",
    jit: bool = False,
) -> Map:
    """Maps what each element adds to an output, if the model is nearly linear.

    Exact for a linear model, compared with inputs of zero; for one of ReLUs without
    biases the map adds up to the output. Elsewhere the integral of the gradient is
    better: `Explainer` with `method="integrated_gradients"`. Tokens have the sum over
    their embeddings.

    Args:
        model: A built model of any kind; it is called in inference mode.
        x: The rows, as the model takes them: an array, or a list, tuple or dictionary
            of arrays, or a DataFrame.
        outputs: Which outputs, as for `Explainer`. Defaults to `"top"`.
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
        >>> print(kx.explain.maps.input_x_gradient(model, np.array([[3.0, 1.0, 5.0]])))
        [[ 3. -2.  0.]]

    References:
        - [Shrikumar et al., 2016](https://arxiv.org/abs/1605.01713)
    """
    question = Question(model, x, outputs, batch_size, jit)
    leaves = Leaves(question.function, question.parts)

    def compute(parts: list[Tensor], which: Tensor) -> Tensor:
        own = leaves(parts)
        _, gradients = leaves.gradients(own, parts, which)
        found = [
            leaves.elements([g * a for g, a in zip(row, own, strict=True)])
            for row in gradients
        ]
        return tf.stack(found, axis=-1)

    return question.shaped(question.mapped(question.compiled(compute)))
