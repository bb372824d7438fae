"""How many batches there were, for callbacks that count them."""

from typing import ClassVar

import keras


class BatchCount:
    """Counts batches over the epochs of a `fit`, also where it goes on.

    Whoever is told of the end of a batch makes Keras fetch the metrics: it is enough to
    ask at the beginning of each.
    """

    remembered: ClassVar[tuple[str, ...]] = ("_before", "_batches")

    def __init__(self) -> None:
        # Before this epoch, and in this epoch.
        self._before = self._batches = 0

    def before(self, callback: keras.callbacks.Callback, batch: int) -> int:
        """How many batches are done when this one begins.

        Args:
            callback: Has `params` and `model`.
            batch: The number of the batch in the epoch, as Keras tells it.
        """
        if batch == 0:
            self._before += self._batches
        self._batches = _done(callback, batch)
        return self._before + batch


def _done(callback: keras.callbacks.Callback, batch: int) -> int:
    """How many batches of its epoch are done when what begins with this one is over.

    What is run at once may be fewer than `steps_per_execution` at the end of an epoch;
    and where `fit` does not know how many there are, it begins one more than there are,
    in vain.
    """
    end = batch + callback.model.steps_per_execution
    steps = (callback.params or {}).get("steps", end)
    if steps is None:
        return batch
    return steps if batch < steps < end else end
