"""How much worse a model does on data that it was not trained on."""

import math

from keras_ext._core._checks import number
from keras_ext._core._described import Described


class OverfitGap(Described):
    """Smooths the relative gap between validation loss and training loss.

    The gap is `(validation_loss - training_loss) / max(validation_loss, epsilon)`: 0
    when both are equal, near 1 when the training loss is negligible. Both losses have
    to be measured alike, in inference mode: the training loss that `fit` logs is
    averaged over changing weights with dropout on, and hides the gap.

    Args:
        smoothing: Number in [0, 1), the weight of the past in the exponential average.
            Defaults to `0.7`.
        epsilon: Number > 0, the smallest validation loss that counts.
            Defaults to `1e-7`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> gap = kx.signals.OverfitGap(smoothing=0.5)
        >>> gap.update(training_loss=3.0, validation_loss=4.0)
        0.25
        >>> round(gap.update(training_loss=1.0, validation_loss=4.0), 4)  # 0.75 now
        0.5833
    """

    def __init__(self, smoothing: float = 0.7, *, epsilon: float = 1e-7) -> None:
        self.smoothing = number(smoothing, "smoothing", low=0, below=1)
        self.epsilon = number(epsilon, "epsilon", above=0)
        self._average = 0.0
        self._weight = 0.0

    def update(self, training_loss: float, validation_loss: float) -> float:
        """Takes in two losses and returns the smoothed gap.

        Args:
            training_loss: The loss on a sample of the training data.
            validation_loss: The loss on data that was not trained on.

        Returns:
            The average so far, with the weights of the start divided out; NaN if the
            gap is not finite, which the average then forgets.
        """
        gap = validation_loss - training_loss
        gap /= max(validation_loss, self.epsilon)
        if not math.isfinite(gap):
            return math.nan
        self._average = self.smoothing * self._average + (1 - self.smoothing) * gap
        self._weight = self.smoothing * self._weight + (1 - self.smoothing)
        return self._average / self._weight
