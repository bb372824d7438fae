"""Steps as long as the weights that they move."""

import keras
from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._update_scale import UpdateScale

# No matrices: they have a direction, and no length to go by.
_VECTORS = "bias|gamma|beta"


@keras.saving.register_keras_serializable(package="keras_ext")
class TrustRatio(UpdateScale):
    """Makes every weight move by the learning rate times its norm.

    The direction is that of the optimizer, weight decay included: with `AdamW` this is
    LAMB, with `SGD` it is a LARS whose momentum is not scaled. Any other optimizer gets
    layer-wise rates in the same way. For large batches, where one learning rate for all
    layers is too large for some.

    A weight whose norm or update is zero moves as without it.

    Args:
        max_norm: Number > 0, the largest norm of a weight that counts.
            Defaults to `10.0`.
        include: Which weights move in this way: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which move as without it, in the same form. None means none.
            Defaults to `"bias|gamma|beta"`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(0.1), [kx.gradients.TrustRatio()]
        ... )
        >>> kernel = keras.Variable([[3.0], [4.0]], name="kernel")  # norm 5
        >>> optimizer.apply([keras.ops.array([[70.0], [0.0]])], [kernel])
        >>> print(kernel.numpy().round(2).T)  # moved by 0.1 * 5
        [[2.5 4. ]]

    References:
        - [You et al., 2019](https://arxiv.org/abs/1904.00962)
        - [You et al., 2017](https://arxiv.org/abs/1708.03888)
    """

    def __init__(
        self,
        *,
        max_norm: float = 10.0,
        include: Pattern = None,
        exclude: Pattern = _VECTORS,
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        self.max_norm = number(max_norm, "max_norm", above=0)

    def factor(self, variable: Variable, move: Tensor, learning_rate: Tensor) -> Tensor:
        move = ops.cast(move, "float32")
        # The weight has moved already.
        before = ops.cast(variable.value, "float32") - move
        lengths = ops.sqrt(ops.sum(ops.square(before)))
        steps = ops.sqrt(ops.sum(ops.square(move)))
        wished = ops.cast(learning_rate, "float32") * ops.minimum(
            lengths, self.max_norm
        )
        positive = ops.logical_and(lengths > 0, steps > 0)
        return ops.where(positive, wished / ops.where(positive, steps, 1.0), 1.0)

    def get_config(self) -> Config:
        return {"max_norm": self.max_norm, **super().get_config()}
