"""Loss scaling: undone before gradients are shaped, and adapted after an update."""

from collections.abc import Sequence

from keras import ops

from keras_ext._core._typing import Tensor
from keras_ext._engine._forwarding_optimizer import ForwardingOptimizer


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
