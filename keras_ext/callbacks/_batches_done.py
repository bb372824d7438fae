"""How far an epoch is, for callbacks that count batches."""

import keras


def batches_done(callback: keras.callbacks.Callback, batch: int) -> int:
    """How many batches of its epoch are done when what begins with this one is over.

    Asked at the beginning, since Keras would fetch the metrics for whoever is told of
    the end. What is run at once may be fewer than `steps_per_execution` at the end of
    an epoch; and where `fit` does not know how many there are, it begins one more than
    there are, in vain.

    Args:
        callback: Has `params` and `model`.
        batch: The number of the batch in the epoch, as Keras tells it.
    """
    end = batch + callback.model.steps_per_execution
    steps = (callback.params or {}).get("steps", end)
    if steps is None:
        return batch
    return steps if batch < steps < end else end
