"""How many updates a training makes."""

from collections.abc import Mapping

from keras_ext._core._typing import Optimizer
from keras_ext._keras._optimizer_family import batches_per_update, updates_so_far


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
    planned = int(steps) * int(epochs) // batches_per_update(optimizer)
    return updates_so_far(optimizer) + planned
