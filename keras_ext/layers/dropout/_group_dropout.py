"""Dropout of groups of features."""

from typing import Any

import keras
from keras import ops

from keras_ext._core._checks import is_integer, require
from keras_ext._core._typing import Config, Shape, Tensor
from keras_ext._live._dropout_kernel import live_dropout
from keras_ext.layers.dropout._noise_layer import DroppingLayer


@keras.saving.register_keras_serializable(package="keras_ext")
class GroupDropout(DroppingLayer):
    """Drops groups of neighbouring features together.

    For features that belong together, such as the columns of one categorical input,
    the heads of an attention layer, or the channels of a grouped convolution: dropout
    that leaves parts of them is undone by the rest. While training, each group of each
    example is set to zero with probability `rate`, at all positions, and the others
    are divided by `1 - rate`. The rate is live, and at rate 0 the inputs pass
    unchanged, to the bit.

    Masking: the mask is passed on unchanged.

    Args:
        rate: Number in [0, 0.95], the initial probability of dropping a group.
        groups: Integer >= 1, the number of groups, all of one size; or a list of
            their sizes.
        axis: Integer, the axis of the features, not that of the batch. Defaults to
            `-1`.
        seed: Integer seed of the mask. None means random.
        **kwargs: `name`, `dtype` and `trainable`, as in `keras.layers.Layer`.

    Call arguments:
        inputs: Floating-point tensor.
        training: Whether to drop. Defaults to `False`.

    Output shape:
        The shape of the inputs.

    Raises:
        ValueError: If an argument is out of range, or the features cannot be divided
            like this.

    Examples:
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> drop = kx.layers.GroupDropout(0.5, groups=[1, 2, 3], seed=11)
        >>> print(drop(np.ones((2, 6), "float32"), training=True).numpy())
        [[2. 0. 0. 2. 2. 2.]
         [2. 2. 2. 0. 0. 0.]]
    """

    def __init__(
        self,
        rate: float,
        groups: Any,
        *,
        axis: int = -1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(rate, seed, **kwargs)
        sizes = groups if isinstance(groups, list | tuple) else [groups]
        require(
            len(sizes) > 0 and all(is_integer(n) and n >= 1 for n in sizes),
            "groups",
            groups,
            "an integer >= 1 or a list of them",
        )
        require(is_integer(axis) and axis != 0, "axis", axis, "an integer, not 0")
        self.groups = groups if is_integer(groups) else tuple(groups)
        self.axis = axis

    def build(self, input_shape: Shape) -> None:
        require(
            -len(input_shape) < self.axis < len(input_shape),
            "axis",
            self.axis,
            f"an axis of the inputs after the first; they have {len(input_shape)}",
        )
        features = input_shape[self.axis]
        if isinstance(self.groups, tuple):
            sizes = list(self.groups)
            fits = sum(sizes) == features
        else:
            fits = features is not None and features % self.groups == 0
            sizes = []
            if fits and features is not None:
                sizes = [features // self.groups] * self.groups
        require(
            fits, "groups", self.groups, f"a division of {features} features in groups"
        )
        # Which group each feature is in.
        self._group = [i for i, size in enumerate(sizes) for _ in range(size)]
        super().build(input_shape)

    def noisy(self, inputs: Tensor) -> Tensor:
        batch, groups = ops.shape(inputs)[0], self._group[-1] + 1
        ones = ops.ones((batch, groups), dtype="float32")
        factors = live_dropout(
            ones, self.rate.value, (batch, groups), self.seed_generator
        )
        factors = ops.take(factors, self._group, axis=1)
        shape = [batch, *[1] * (len(inputs.shape) - 1)]
        shape[self.axis] = len(self._group)
        factors = ops.cast(ops.reshape(factors, shape), inputs.dtype)
        # Zero also where the input is infinite.
        return ops.where(factors > 0, inputs * factors, ops.zeros((), inputs.dtype))

    def get_config(self) -> Config:
        return {**super().get_config(), "groups": self.groups, "axis": self.axis}
