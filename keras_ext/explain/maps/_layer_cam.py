"""LayerCAM: activations weighed by their own gradients."""

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import flag
from keras_ext._core._typing import Data, Layer, OutputChoice, Tensor
from keras_ext.explain.maps._class_activation import class_activation
from keras_ext.explain.maps._question import Question


def layer_cam(
    model: keras.Model,
    x: Data,
    *,
    outputs: OutputChoice = "top",
    layer: Layer = None,
    resize: bool = True,
    batch_size: int | str = "auto",
    jit: bool = False,
) -> np.ndarray:
    """Maps where in an image an output comes from, place by place (LayerCAM).

    Each activation counts as much as the output rises with it, and not at all where it
    falls. Works for early layers too, whose maps are finer.

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
        >>> print(kx.explain.maps.layer_cam(model, image, resize=False)[0])
        [[1. 0.]
         [0. 0.]]

    References:
        - Jiang et al., 2021, LayerCAM: Exploring Hierarchical Class Activation Maps for
          Localization, IEEE Transactions on Image Processing 30
    """
    resize = flag(resize, "resize")
    question = Question(model, x, outputs, batch_size, jit)
    return class_activation(question, layer, resize, _rule)


def _rule(activations: Tensor, gradients: Tensor) -> Tensor:
    weighed = tf.nn.relu(gradients) * activations
    return tf.nn.relu(tf.reduce_sum(weighed, axis=3))
