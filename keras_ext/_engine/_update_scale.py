"""The parts of a pipeline that scale updates, and how it is done."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import tensorflow as tf

from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._pipeline_part import PipelinePart
from keras_ext._keras import _replica


class UpdateScale(PipelinePart):
    """Scales what the optimizer did to a weight, its weight decay included.

    To write one, override `factor`. It works with any optimizer, even with Adam, for
    which a scaled gradient makes no difference. It cannot be combined with the
    optimizer's `use_ema`, which would average unscaled updates, nor be around one that
    gives weights values of its own, such as `Proximal` and `Lookahead`.

    Args:
        include: Which variables are scaled: a regular expression that is searched in
            `variable.path`, a list of them, or a function from variable to bool. None
            means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If `include` or `exclude` is neither of these.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> @keras.saving.register_keras_serializable("my_package")
        ... class Halve(kx.gradients.UpdateScale):
        ...     def factor(self, variable, move, learning_rate):
        ...         return 0.5
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.Adam(1.0), [Halve()]
        ... )
        >>> kernel = keras.Variable([0.0], name="kernel")
        >>> optimizer.apply([keras.ops.array([7.0])], [kernel])
        >>> print(kernel.numpy().round(3))
        [-0.5]
    """

    # Whether a factor is never other than 0 or 1.
    is_whole: ClassVar[bool] = False

    def factor(self, variable: Variable, move: Tensor, learning_rate: Tensor) -> Tensor:
        """Returns the number, or numbers, that the update of a weight is scaled by.

        Called on every replica, after the optimizer, for the chosen variables.

        Args:
            variable: The weight, after the update.
            move: By how much the optimizer changed it, with its weight decay.
            learning_rate: The learning rate of the update.
        """
        raise NotImplementedError(f"{type(self).__name__} must override factor(...).")


def remember_weights(
    rules: Sequence[UpdateScale], variables: Sequence[Variable], learning_rate: Tensor
) -> Callable[[], None]:
    """Remembers the weights that some rule is for, on a replica, before the optimizer.

    What it returns scales how they have moved since, and is to be called after it.
    """
    rules_of = [(v, [rule for rule in rules if rule.chooses(v)]) for v in variables]
    chosen = [(v, some) for v, some in rules_of if some]
    before = [tf.identity(_replica.native(v)) for v, _ in chosen]

    def scale() -> None:
        new = []
        for (variable, some), start in zip(chosen, before, strict=True):
            end = tf.identity(_replica.native(variable))
            for rule in some:
                factor = rule.factor(variable, end - start, learning_rate)
                factor = tf.cast(factor, end.dtype)
                scaled = start + factor * (end - start)
                # Where nothing, or everything, is to stay, every bit does.
                scaled = tf.where(tf.equal(factor, 1), end, scaled)
                end = tf.where(tf.equal(factor, 0), start, scaled)
            new.append(end)
        if chosen:
            _replica.assign([v for v, _ in chosen], new)

    return scale
