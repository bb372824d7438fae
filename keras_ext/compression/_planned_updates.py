"""How many updates a training makes."""

import math
from collections.abc import Mapping

from keras import ops

from keras_ext._core._typing import Optimizer
from keras_ext._keras._optimizer_family import optimizer_family


def updates_so_far(optimizer: Optimizer) -> int:
    """How often the weights were moved."""
    return int(ops.convert_to_numpy(optimizer.iterations))


def planned_updates(
    optimizer: Optimizer, params: Mapping[str, int | None] | None
) -> int | None:
    """How many updates there will have been when `fit` ends, at most.

    Args:
        optimizer: The optimizer of the model, which may accumulate gradients in Keras's
            way or in that of `GradientPipeline`.
        params: The `params` of a callback.

    Returns:
        The number, or None if the length of an epoch is not known.
    """
    steps, epochs = (params or {}).get("steps"), (params or {}).get("epochs")
    if not steps or not epochs:
        return None
    batches = math.prod(
        int(getattr(member, name, None) or 1)
        for member in optimizer_family(optimizer)
        for name in ("gradient_accumulation_steps", "accumulation_steps")
        # A wrapper answers with what the wrapped one has.
        if name in vars(member)
    )
    return updates_so_far(optimizer) + int(steps) * int(epochs) // batches
