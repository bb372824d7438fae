"""The regularizers of Keras, with strengths that are live."""

import keras
from keras import ops

from keras_ext._core._typing import Tensor
from keras_ext.regularizers._live_regularizer import LiveRegularizer


def absolute_sum(x: Tensor) -> Tensor:
    """Sum of absolute values, in float32."""
    return ops.sum(ops.absolute(ops.cast(x, "float32")))


def square_sum(x: Tensor) -> Tensor:
    """Sum of squares, in float32."""
    return ops.sum(ops.square(ops.cast(x, "float32")))


@keras.saving.register_keras_serializable(package="keras_ext")
class L1(LiveRegularizer):
    """Adds `l1 * sum(abs(x))` to the loss, with an `l1` that can change.

    As `keras.regularizers.L1`, but assigning `l1` takes effect in the next step of a
    running `fit`. An existing model needs no other regularizers for that:
    `keras_ext.make_live` makes those of Keras live.

    Args:
        l1: Number >= 0, the initial strength. Defaults to `0.01`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> dense = keras.layers.Dense(3, kernel_regularizer=kx.regularizers.L1(0.1))
        >>> dense.kernel_regularizer.l1 = 0.2
        >>> dense.kernel_regularizer.get_config()
        {'l1': 0.2}
    """

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = self.live("l1", l1)

    def __call__(self, x: Tensor) -> Tensor:
        return self.l1.value * absolute_sum(x)


@keras.saving.register_keras_serializable(package="keras_ext")
class L2(LiveRegularizer):
    """Adds `l2 * sum(square(x))` to the loss, with an `l2` that can change.

    As `keras.regularizers.L2`, but assigning `l2` takes effect in the next step of a
    running `fit`. An existing model needs no other regularizers for that:
    `keras_ext.make_live` makes those of Keras live.

    Args:
        l2: Number >= 0, the initial strength. Defaults to `0.01`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> dense = keras.layers.Dense(
        ...     3, kernel_regularizer=kx.regularizers.L2(0.1), name="dense"
        ... )
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> list(kx.hyper_variables(model))
        ['dense/kernel_regularizer/l2']
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = self.live("l2", l2)

    def __call__(self, x: Tensor) -> Tensor:
        return self.l2.value * square_sum(x)


@keras.saving.register_keras_serializable(package="keras_ext")
class L1L2(LiveRegularizer):
    """Adds `l1 * sum(abs(x)) + l2 * sum(square(x))` to the loss, both live.

    As `keras.regularizers.L1L2`, but assigning `l1` or `l2` takes effect in the next
    step of a running `fit`, also from 0.

    Args:
        l1: Number >= 0, the initial strength of the first. Defaults to `0.0`.
        l2: Number >= 0, the initial strength of the second. Defaults to `0.0`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> regularizer = kx.regularizers.L1L2()
        >>> regularizer.l1 = 0.5
        >>> float(regularizer(keras.ops.array([-1.0, 3.0])))
        2.0
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = self.live("l1", l1)
        self.l2 = self.live("l2", l2)

    def __call__(self, x: Tensor) -> Tensor:
        return self.l1.value * absolute_sum(x) + self.l2.value * square_sum(x)
