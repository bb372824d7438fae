"""Updates only where they go against the gradient."""

from collections.abc import Sequence
from typing import ClassVar

import keras
import tensorflow as tf

from keras_ext._core._typing import Optimizer, Tensor, Variable
from keras_ext._engine._update_wrapper import Apply, UpdateWrapper, read
from keras_ext._keras._optimizer_family import optimizer_family
from keras_ext._keras._optimizer_slots import decays

# The smallest share of a weight that its update is divided by, as in timm.
_LEAST_SHARE = 1e-3


@keras.saving.register_keras_serializable(package="keras_ext")
class Cautious(UpdateWrapper):
    """Moves weights only where another optimizer moves them against the gradient.

    Momentum may move a weight in a direction that the present gradient opposes. These
    elements of an update are left out, and the others of the same weight made larger
    such that the mean factor is 1, at most by 1000. For optimizers with momentum, such
    as Adam or Lion; without momentum it changes nothing. Costs no memory.

    Decoupled weight decay of the wrapped optimizer is not masked.

    Args:
        optimizer: The optimizer to wrap, its name or its config. A `GradientPipeline`
            that accumulates has to be around this one instead.
        name: Name of the optimizer. None means the name of the class.

    Raises:
        ValueError: If `optimizer` is not one, or accumulates, or applies an operator.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> sgd = keras.optimizers.SGD(1.0, momentum=0.9)
        >>> optimizer = kx.optimizers.Cautious(sgd)
        >>> weight = keras.Variable([0.0, 0.0], name="weight")
        >>> for gradient in ([1.0, 1.0], [-0.5, 1.0]):
        ...     optimizer.apply([keras.ops.array(gradient)], [weight])
        >>> print(weight.numpy())  # the first stays, the second moves by 2 * 1.9
        [-1.  -4.8]

    References:
        - [Liang et al., 2024](https://arxiv.org/abs/2411.16085)
    """

    needs_whole_gradient: ClassVar[bool] = True
    scales_moves: ClassVar[bool] = True

    def __init__(self, optimizer: Optimizer, *, name: str | None = None) -> None:
        super().__init__(optimizer, name=name)

    def update(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable], apply: Apply
    ) -> None:
        count, before = self.counted(), read(variables)
        decayed = self._decayed(before, variables)
        apply(gradients)
        triples = zip(read(variables), decayed, gradients, strict=True)
        moved = [start + _cautious(end - start, g) for end, start, g in triples]
        self.write(variables, moved, self.made_since(count))

    def _decayed(
        self, values: Sequence[Tensor], variables: Sequence[Variable]
    ) -> list[Tensor]:
        """The weights after decoupled decay, which Keras does first."""
        rates = [m.weight_decay for m in optimizer_family(self.inner_optimizer)]
        decay = next((rate for rate in rates if rate is not None), None)
        if not decay:
            return list(values)
        kept = 1.0 - self.rate() * decay
        return [
            x * tf.cast(kept, x.dtype) if decays(self.inner_optimizer, v) else x
            for x, v in zip(values, variables, strict=True)
        ]


def _cautious(move: Tensor, gradient: Tensor) -> Tensor:
    opposed = tf.cast(move * tf.cast(gradient, move.dtype) < 0, move.dtype)
    return move * opposed / tf.maximum(tf.reduce_mean(opposed), _LEAST_SHARE)
