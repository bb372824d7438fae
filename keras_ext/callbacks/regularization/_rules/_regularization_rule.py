"""From what was sensed to what is done."""

from dataclasses import dataclass, field

import keras
import numpy as np

from keras_ext._core._typing import Record
from keras_ext._live._regularization_knobs import RegularizationKnobs


@dataclass(frozen=True)
class Sensed:
    """What is known at the end of an epoch.

    Attributes:
        training_loss: The loss on training data, without regularization.
        validation_loss: That on validation data.
        gap: The smoothed relative gap between them.
        warming_up: Whether nothing is to be moved yet.
    """

    training_loss: float
    validation_loss: float
    gap: float
    warming_up: bool


@dataclass(frozen=True)
class Decision:
    """What is to be done, and why.

    Attributes:
        offsets: The offsets to move to, an array or one number for all; None leaves all
            as it is.
        reason: Why, in a word or two.
        note: What else there is to say about it.
        details: The numbers behind it, by name.
    """

    offsets: np.ndarray | float | None
    reason: str
    note: str = ""
    details: Record = field(default_factory=dict)


class RegularizationRule:
    """Decides once per epoch where the hyperparameters go."""

    # The weight of the past in the gap.
    smoothing = 0.7

    def begin(self, model: keras.Model, knobs: RegularizationKnobs) -> None:
        """Is called when training begins.

        Args:
            model: The model.
            knobs: What is moved.
        """
        self.model = model
        self.knobs = knobs

    def before_epoch(self) -> None:
        """Is called before each epoch."""

    def decide(self, sensed: Sensed) -> Decision:
        """Decides at the end of an epoch."""
        raise NotImplementedError

    def end(self) -> None:
        """Is called when training ends, while the hyperparameters are still live."""
