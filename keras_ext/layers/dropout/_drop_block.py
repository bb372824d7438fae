"""Dropout of contiguous blocks."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from keras_ext._core._checks import choice, flag, is_integer, require
from keras_ext._core._typing import Config, Shape, Tensor
from keras_ext.layers.dropout._noise_layer import DroppingLayer


class DropBlock(DroppingLayer):
    """Base of the layers that drop blocks, for any number of spatial axes."""

    # The number of spatial axes.
    rank: ClassVar[int]

    def __init__(
        self,
        rate: float = 0.1,
        block_size: Any = 7,
        per_channel: bool = True,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(rate, seed, **kwargs)
        sizes = block_size if isinstance(block_size, list | tuple) else [block_size]
        require(
            len(sizes) in (1, self.rank)
            and all(is_integer(size) and size >= 1 for size in sizes),
            "block_size",
            block_size,
            f"an integer >= 1, or a list of {self.rank}",
        )
        data_format = choice(
            data_format,
            "data_format",
            ("channels_last", "channels_first"),
            optional=True,
        )
        self.block_size = sizes[0] if len(sizes) == 1 else tuple(sizes)
        self.per_channel = flag(per_channel, "per_channel")
        self.data_format = data_format or keras.config.image_data_format()

    def build(self, input_shape: Shape) -> None:
        axes = self.rank + 2
        require(len(input_shape) == axes, "input_shape", input_shape, f"of {axes} axes")
        first = 2 if self.data_format == "channels_first" else 1
        size = self.block_size
        sizes = size if isinstance(size, tuple) else (size,) * self.rank
        spatial = input_shape[first : first + self.rank]
        # A block is not larger than what it is cut from.
        self._sizes = tuple(
            block if length is None else min(block, length)
            for block, length in zip(sizes, spatial, strict=True)
        )
        super().build(input_shape)

    def noisy(self, inputs: Tensor) -> Tensor:
        dropped = self._dropped(inputs)
        # The share that is left, and exactly 1 if nothing is dropped.
        # Of what is dropped now: blocks overlap, so that `rate` is only about right.
        left = 1.0 - ops.mean(dropped)
        scale = ops.cast(1.0 / ops.maximum(left, keras.config.epsilon()), inputs.dtype)
        return ops.where(dropped > 0, ops.zeros((), inputs.dtype), inputs * scale)

    def _dropped(self, inputs: Tensor) -> Tensor:
        """1 where an input is dropped, and 0 elsewhere, to be broadcast."""
        shape = ops.shape(inputs)
        is_first = self.data_format == "channels_first"
        spatial = shape[2:] if is_first else shape[1:-1]
        channels = (shape[1] if is_first else shape[-1]) if self.per_channel else 1
        # Where a whole block fits, it may begin.
        starts = tuple(n - b + 1 for n, b in zip(spatial, self._sizes, strict=True))
        noise = keras.random.uniform(
            (shape[0], *starts, channels), dtype="float32", seed=self.seed_generator
        )
        begins = ops.cast(noise < self._start_rate(spatial, starts), "float32")
        # An entry is dropped if a block begins at it, or at one of the b - 1 places
        # before.
        around = [(0, 0), *[(b - 1, b - 1) for b in self._sizes], (0, 0)]
        blocks = ops.max_pool(
            ops.pad(begins, around),
            self._sizes,
            strides=1,
            padding="valid",
            # The noise has its channels last, whatever the inputs have.
            data_format="channels_last",
        )
        return ops.moveaxis(blocks, -1, 1) if is_first else blocks

    def _start_rate(
        self, spatial: Sequence[int | Tensor], starts: Sequence[int | Tensor]
    ) -> Tensor:
        """The probability that a block begins at a place, `gamma` in the paper."""
        inputs, places = (
            math.prod(ops.cast(n, "float32") for n in sizes)
            for sizes in (spatial, starts)
        )
        return self.rate.value * inputs / places / math.prod(self._sizes)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "block_size": self.block_size,
            "per_channel": self.per_channel,
            "data_format": self.data_format,
        }


@keras.saving.register_keras_serializable(package="keras_ext")
class DropBlock1D(DropBlock):
    """Drops contiguous pieces of sequences.

    As `keras_ext.layers.DropBlock2D`, for inputs with one axis of positions. There is
    a mask for the time steps that Keras masks: it is passed on unchanged.

    Args:
        rate: Number in [0, 0.95], the initial share of the inputs to drop. Defaults to
            `0.1`.
        block_size: Integer >= 1, the length of a piece. Defaults to `7`.
        per_channel: Whether every channel has pieces of its own. Defaults to `True`.
        data_format: `"channels_last"` or `"channels_first"`. None means the one in
            the Keras configuration.
        seed: Integer seed of the mask. None means random.
        **kwargs: `name`, `dtype` and `trainable`, as in `keras.layers.Layer`.

    Call arguments:
        inputs: Floating-point tensor with three axes.
        training: Whether to drop. Defaults to `False`.

    Output shape:
        The shape of the inputs.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> drop = kx.layers.DropBlock1D(0.3, block_size=3, seed=6)
        >>> y = drop(np.ones((1, 12, 1), "float32"), training=True)
        >>> print((y.numpy()[0, :, 0] > 0).astype(int))
        [1 1 1 1 1 0 0 0 1 1 1 1]

    References:
        - [Ghiasi et al., 2018](https://arxiv.org/abs/1810.12890)
    """

    rank = 1


@keras.saving.register_keras_serializable(package="keras_ext")
class DropBlock2D(DropBlock):
    """Drops contiguous blocks of feature maps.

    Neighbouring activations of a convolution carry the same information, so that
    dropping single ones takes little away. This drops squares: block corners are drawn
    such that `rate` of the inputs would be dropped if blocks did not overlap. The
    others are scaled to the same sum of the mask as without dropping. The rate is live
    and is best raised slowly from 0, by
    `keras_ext.callbacks.HyperparameterScheduler`; at rate 0 the inputs pass unchanged,
    to the bit.

    Blocks lie within the inputs, so that positions at the border are dropped less
    often. An axis shorter than the block shortens the block; along an axis of unknown
    length, inputs must be as long as the block.

    Masking: the mask is passed on unchanged.

    Args:
        rate: Number in [0, 0.95], the initial share of the inputs to drop. Defaults to
            `0.1`.
        block_size: Integer >= 1, the side of a block; or one for each axis.
            Defaults to `7`.
        per_channel: Whether every channel has blocks of its own. Defaults to `True`.
        data_format: `"channels_last"` or `"channels_first"`. None means the one in
            the Keras configuration.
        seed: Integer seed of the mask. None means random.
        **kwargs: `name`, `dtype` and `trainable`, as in `keras.layers.Layer`.

    Call arguments:
        inputs: Floating-point tensor with four axes.
        training: Whether to drop. Defaults to `False`.

    Output shape:
        The shape of the inputs.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> drop = kx.layers.DropBlock2D(0.3, block_size=2, seed=1)
        >>> y = drop(np.ones((1, 4, 4, 1), "float32"), training=True)
        >>> print((y.numpy()[0, :, :, 0] > 0).astype(int))
        [[1 1 1 1]
         [1 1 1 1]
         [1 1 0 0]
         [1 1 0 0]]

    References:
        - [Ghiasi et al., 2018](https://arxiv.org/abs/1810.12890)
    """

    rank = 2


@keras.saving.register_keras_serializable(package="keras_ext")
class DropBlock3D(DropBlock):
    """Drops contiguous blocks of volumes.

    As `keras_ext.layers.DropBlock2D`, for inputs with three axes of positions.

    Args:
        rate: Number in [0, 0.95], the initial share of the inputs to drop. Defaults to
            `0.1`.
        block_size: Integer >= 1, the side of a block; or one for each axis.
            Defaults to `7`.
        per_channel: Whether every channel has blocks of its own. Defaults to `True`.
        data_format: `"channels_last"` or `"channels_first"`. None means the one in
            the Keras configuration.
        seed: Integer seed of the mask. None means random.
        **kwargs: `name`, `dtype` and `trainable`, as in `keras.layers.Layer`.

    Call arguments:
        inputs: Floating-point tensor with five axes.
        training: Whether to drop. Defaults to `False`.

    Output shape:
        The shape of the inputs.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> drop = kx.layers.DropBlock3D(0.0, block_size=2)
        >>> x = np.random.default_rng(0).normal(size=(1, 4, 4, 4, 1)).astype("float32")
        >>> bool(np.all(drop(x, training=True).numpy() == x))
        True

    References:
        - [Ghiasi et al., 2018](https://arxiv.org/abs/1810.12890)
    """

    rank = 3
