"""Stochastic depth."""

import keras
from keras import ops

from keras_ext._core._checks import integer, number
from keras_ext._core._typing import Tensor
from keras_ext._live._dropout_kernel import LARGEST_RATE, live_dropout
from keras_ext.layers.dropout._noise_layer import DroppingLayer


@keras.saving.register_keras_serializable(package="keras_ext")
class DropPath(DroppingLayer):
    """Drops whole examples: some of them skip a residual branch.

    Put it at the end of a residual branch, before the addition. While training, each
    example of the branch is set to zero with probability `rate`, and the others are
    divided by `1 - rate`: a network of random depth (stochastic depth). The rate is
    live, and at rate 0 the inputs pass unchanged, to the bit.

    Masking: the mask is passed on unchanged.

    Args:
        rate: Number in [0, 0.95], the initial probability of dropping an example.
        seed: Integer seed of the mask. None means random.
        **kwargs: `name`, `dtype` and `trainable`, as in `keras.layers.Layer`.

    Call arguments:
        inputs: Floating-point tensor whose first axis is the batch.
        training: Whether to drop. Defaults to `False`.

    Output shape:
        The shape of the inputs.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> drop = kx.layers.DropPath(0.5, seed=1)
        >>> branch = drop(np.ones((4, 2), "float32"), training=True)
        >>> print(branch.numpy().T)
        [[2. 0. 2. 0.]
         [2. 0. 2. 0.]]

    References:
        - [Huang et al., 2016](https://arxiv.org/abs/1603.09382)
    """

    @staticmethod
    def linear_rates(last: float, depth: int) -> list[float]:
        """Rates for `depth` residual blocks that rise in a line from 0 to `last`.

        The input counts as block 0, so that the first block has `last / depth`.

        Args:
            last: Number in [0, 0.95], the rate of the last block; 0.5 for residual
                networks in the paper, and 0.1 to 0.3 is usual for transformers.
            depth: Integer >= 1, the number of blocks.

        Returns:
            The rates, that of the block nearest to the input first.
        """
        last = number(last, "last", low=0, high=LARGEST_RATE)
        depth = integer(depth, "depth", low=1)
        return [last * block / depth for block in range(1, depth + 1)]

    def noisy(self, inputs: Tensor) -> Tensor:
        shape = (ops.shape(inputs)[0], *[1] * (len(inputs.shape) - 1))
        return live_dropout(inputs, self.rate.value, shape, self.seed_generator)
