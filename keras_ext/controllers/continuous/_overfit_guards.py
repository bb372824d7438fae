"""When not to regularize more, though the gap is large."""

import math
from typing import ClassVar

# Over so many steps the trend of the validation loss is taken.
_TREND = 3
# How far to go back at once when regularization does damage.
_BACK = 0.3


class OverfitGuards:
    """Looks at the two losses themselves before regularization is made stronger.

    - *Validation first*: no increase while the validation loss still falls. A gap does
      no harm then.
    - *Underfit*: if the training loss has risen above its best by so much that it
      matters to the validation loss, regularization does damage, and is made weaker.

    Args:
        min_progress: A fall of the validation loss by this share per update counts as
            falling.
        max_damage: A rise of the training loss above its best by this share of the
            validation loss counts as damage.
    """

    remembered: ClassVar[tuple[str, ...]] = ("_best_training", "_validation")

    def __init__(self, min_progress: float, max_damage: float) -> None:
        self._min_progress = min_progress
        self._max_damage = max_damage
        self._best_training = math.inf
        self._validation: list[float] = []

    def admitted(
        self, change: float, training_loss: float, validation_loss: float
    ) -> tuple[float, str]:
        """Returns what to do in place of a change, and why if it is something else.

        Args:
            change: What the controller wants; positive is more regularization.
            training_loss: The loss on training data in inference mode.
            validation_loss: The loss on validation data.

        Returns:
            The change, and `""`, `"underfit"` or `"validation improves"`.
        """
        if math.isnan(training_loss + validation_loss):
            # What is not known is no reason for more.
            return min(change, 0.0), ""
        self._best_training = min(self._best_training, training_loss)
        # One more than steps, which lie between them.
        self._validation = [*self._validation, validation_loss][-_TREND - 1 :]
        if change <= 0:
            return change, ""
        damage = training_loss - self._best_training
        if damage > self._max_damage * abs(validation_loss):
            return -_BACK, "underfit"
        if -self._slope() > self._min_progress * abs(validation_loss):
            return 0.0, "validation improves"
        return change, ""

    def _slope(self) -> float:
        """The slope of the line through the last validation losses."""
        count = len(self._validation)
        if count < 2:
            return 0.0
        middle = (count - 1) / 2
        times = [i - middle for i in range(count)]
        products = (t * v for t, v in zip(times, self._validation, strict=True))
        return math.fsum(products) / math.fsum(t * t for t in times)
