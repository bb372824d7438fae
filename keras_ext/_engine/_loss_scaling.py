"""Loss scaling: undone before gradients are shaped, and adapted after an update."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_ext._core._typing import Optimizer, Tensor
from keras_ext._engine._forwarding_optimizer import ForwardingOptimizer
from keras_ext._keras._optimizer_family import optimizer_family


def unscaled(
    optimizer: ForwardingOptimizer, gradients: Sequence[Tensor]
) -> list[Tensor]:
    """The gradients of the loss itself, whatever it was multiplied by."""
    scale = optimizer.optimizer.loss_scale_factor
    if optimizer.scaler is not None:
        used = optimizer.loss_is_scaled
        scale = optimizer.scaler.dynamic_scale.value if used else None
    if scale is None:
        return list(gradients)
    return [g / ops.cast(scale, g.dtype) for g in gradients]


def adapt_loss_scale(optimizer: ForwardingOptimizer, *, finite: bool) -> None:
    """Does after an update what a wrapped `LossScaleOptimizer` does.

    Its own `apply` is passed by: it looks at gradients before they are accumulated.
    """
    scaler = optimizer.scaler
    if scaler is None or not optimizer.loss_is_scaled:
        return
    scale, steps = scaler.dynamic_scale, scaler.step_counter
    if finite:
        grows = ops.equal(steps, scaler.dynamic_growth_steps - 1)
        scale.assign(scale.value * ops.where(grows, 2.0, 1.0))
        steps.assign(ops.where(grows, 0, steps.value + 1))
    else:
        scale.assign(scale.value * 0.5)
        steps.assign(0)


def present_scale(optimizer: Optimizer) -> Tensor | float:
    """What the loss of the step will be multiplied by, without having it done.

    `scale_loss` of an optimizer that accumulates takes note of being called.
    """
    for member in optimizer_family(optimizer):
        if isinstance(member, keras.optimizers.LossScaleOptimizer):
            return member.dynamic_scale.value if member.built else member.initial_scale
    return getattr(optimizer, "loss_scale_factor", None) or 1.0
