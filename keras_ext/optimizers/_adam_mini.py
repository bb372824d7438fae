"""Adam with one second moment for every unit."""

from collections.abc import Mapping
from typing import Unpack

import keras
from keras import ops

from keras_ext._anatomy._unit_axes import Axes, axes_by_identity
from keras_ext._core._checks import require
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._adaptive_rule import AdaptiveRule, Corrected
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    OptimizerOptions,
    Part,
    Slot,
)


@keras.saving.register_keras_serializable(package="keras_ext")
class AdamMini(AdaptiveRule):
    """Adam with half of its memory: one second moment for all weights of a unit.

    A unit is one output of a layer, see `keras_ext.optimizers.unit_axes`; its second
    moment is the mean square of its gradient. Biases, scales and other weights of one
    axis are one unit.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.001`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept in an
            update. Defaults to `0.9`.
        beta_2: Number in [0, 1), the same of the average of squares.
            Defaults to `0.999`.
        epsilon: Number > 0, added to the root mean square. Defaults to `1e-08`.
        unit_axes: What `keras_ext.optimizers.unit_axes(model)` returns. Without it,
            kernels are taken to have their outputs in the last axis. None means
            without.
        weight_decay: Number >= 0, the share of a weight that is taken off in an update,
            times the learning rate. None means none.
        **options: What every optimizer of Keras takes: `clipnorm`, `clipvalue`,
            `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps` and `name`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> kernel = keras.Variable([[0.0], [0.0]], name="kernel")
        >>> optimizer = kx.optimizers.AdamMini(0.5)
        >>> optimizer.apply([keras.ops.array([[1.0], [7.0]])], [kernel])
        >>> print(kernel.numpy().round(2).T)  # over 5, the root mean square
        [[-0.1 -0.7]]

    References:
        - [Zhang et al., 2024](https://arxiv.org/abs/2406.16793)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        unit_axes: Mapping[str, Axes] | None = None,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            weight_decay=weight_decay,
            **options,
        )
        require(
            unit_axes is None or isinstance(unit_axes, Mapping),
            "unit_axes",
            unit_axes,
            "a dictionary from weight paths to axes, or None",
            hint="keras_ext.optimizers.unit_axes(model) makes it.",
        )
        self.unit_axes = None if unit_axes is None else dict(unit_axes)

    def _axes(self, variable: Variable) -> Axes:
        return axes_by_identity([variable], self.unit_axes or {})[id(variable)]

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        axes = self._axes(variable)
        # It keeps the axes that it is averaged over, so that it broadcasts.
        shape = tuple(1 if i in axes else n for i, n in enumerate(variable.shape))
        return {"momentum": Slot(), "velocity": Slot(shape)}

    def change(self, part: Part, given: Corrected) -> Tensor:
        momentum = part.average("momentum", part.gradient, self.beta_1)
        axes = self._axes(part.variable)
        square = ops.mean(ops.square(part.gradient), axis=axes, keepdims=True)
        squares = part.average("velocity", square, self.beta_2)
        scale = given.rate * given.scale
        return momentum * (scale / (ops.sqrt(squares) + given.epsilon))
