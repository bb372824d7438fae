"""Grad-CAM++: activations weighed by the gradients where they are positive."""

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import flag
from keras_ext._core._typing import Data, Layer, OutputChoice, Tensor
from keras_ext.explain.maps._class_activation import class_activation
from keras_ext.explain.maps._question import Question


def grad_cam_plus_plus(
    model: keras.Model,
    x: Data,
    *,
    outputs: OutputChoice = "top",
    layer: Layer = None,
    resize: bool = True,
    batch_size: int | str = "auto",
    jit: bool = False,
) -> np.ndarray:
    """Maps where in an image an output comes from, all instances of it (Grad-CAM++).

    Unlike in `grad_cam`, places where a channel is active and the output rises with it
    count alike, however many there are. The weights are those of the exponential of the
    output, whose second and third derivatives are known; its own value, a factor of all
    weights, is left out.

    Args:
        model: A built model of any kind; it is called in inference mode.
        x: The rows, as the model takes them: images, also among other inputs.
        outputs: Which outputs, as for `Explainer`. Best those before a softmax, whose
            classes pull on each other. Defaults to `"top"`.
        layer: The layer whose activations are taken, its name, or its path through
            nested models, such as `"backbone/conv"`. It must give `(rows, height,
            width, channels)`; of one that is called several times, the last call
            counts. None takes the last such layer of the model or of the models in it.
        resize: Whether the map is brought to the size of the input, with straight
            lines between its points. Defaults to `True`.
        batch_size: How many rows the model gets at a time, or `"auto"` for a number
            that follows from the memory that a row takes. Defaults to `"auto"`.
        jit: Whether to compile with XLA. Defaults to `False`.

    Returns:
        Array `(rows, height, width)`, not negative; with an axis of outputs as the last
        if there are several.

    Raises:
        ValueError: If an argument is not of this form, or the outputs do not depend on
            the layer.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((4, 4, 1)),
        ...         keras.layers.AveragePooling2D(2),
        ...         keras.layers.GlobalAveragePooling2D(),
        ...     ]
        ... )
        >>> image = np.zeros((1, 4, 4, 1))
        >>> image[0, 0, 0] = 16.0
        >>> heat = kx.explain.maps.grad_cam_plus_plus(model, image, resize=False)
        >>> print(heat[0].round(2))
        [[1.33 0.  ]
         [0.   0.  ]]

    References:
        - [Chattopadhyay et al., 2017](https://arxiv.org/abs/1710.11063)
    """
    resize = flag(resize, "resize")
    question = Question(model, x, outputs, batch_size, jit)
    return class_activation(question, layer, resize, _rule)


def _rule(activations: Tensor, gradients: Tensor) -> Tensor:
    total = tf.reduce_sum(activations, axis=(1, 2), keepdims=True)
    # Where y is piecewise linear, the derivatives of exp(y) are exp(y) times powers of
    # the gradient of y; exp(y) cancels in the shares.
    below = 2 * gradients**2 + total * gradients**3
    # Both are none where there is no gradient.
    shares = tf.math.divide_no_nan(gradients**2, below)
    weights = tf.reduce_sum(shares * tf.nn.relu(gradients), axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * activations, axis=3))
