"""Numbers that determine in which order samples come."""


class Orders:
    """Gives each epoch of the data a number.

    An epoch of `fit` has the same one in every process, whatever was read before: so a
    training that was interrupted goes on with the order that it would have had. A `fit`
    that begins with epoch 0 counts on from where the one before it ended; all others
    are taken to go on.

    Attributes:
        present: The number for the epoch that has begun.
    """

    def __init__(self) -> None:
        self._before = 0
        self._last = 0
        self._others = 0
        self.present = 0

    def begin(self, epoch: int | None) -> None:
        """Notes that an epoch begins: of `fit`, or, with None, of somebody else."""
        if epoch is None:
            # Not among those of `fit`, which are to be the same without it.
            self._others += 1
            self.present = -self._others
            return
        # Another `fit` has other orders than the one before.
        if epoch == 0:
            self._before = self._last
        self.present = self._before + epoch + 1
        self._last = max(self._last, self.present)
