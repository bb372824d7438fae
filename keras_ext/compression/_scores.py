"""What weights tell about which of their entries matter."""

import tensorflow as tf
from keras import ops

from keras_ext._core._typing import Tensor


def score(criterion: str, weight: Tensor, seed: int) -> Tensor:
    """The scores of the entries of a weight, in float32; larger ones are kept.

    Args:
        criterion: `"magnitude"` or `"random"`.
        weight: The weight.
        seed: What random scores come from. The same one gives the same scores, on every
            replica and at each renewal, so that what is pruned stays so.
    """
    if criterion == "magnitude":
        return ops.abs(ops.cast(weight, "float32"))
    return tf.random.stateless_uniform(weight.shape, seed=(seed, 0))
