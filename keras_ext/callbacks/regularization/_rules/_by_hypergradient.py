"""Each by the gradient of the validation loss."""

from typing import ClassVar

from keras_ext._core._typing import Data
from keras_ext.callbacks.regularization._rules._regularization_rule import (
    Decision,
    RegularizationRule,
    Sensed,
)
from keras_ext.controllers.continuous._hypergradient import Hypergradient
from keras_ext.signals.losses._slope_probe import SlopeProbe


class ByHypergradient(RegularizationRule):
    """Moves each by how a step of training with more of it changes validation loss.

    Args:
        train_data: What `FixedData` takes.
        validation_data: What `FixedData` takes.
        seed: The seed of the perturbations.
    """

    remembered: ClassVar[tuple[str, ...]] = ("_probe", "_controller")

    def __init__(
        self, train_data: Data, validation_data: Data, *, seed: int | None
    ) -> None:
        self._probe = SlopeProbe(train_data, validation_data, seed)
        # There is one measurement an epoch: the steps are larger, and the memory
        # shorter, than for one that is made every few steps of training.
        self._controller = Hypergradient(
            step=0.2, smoothing=0.7, square_smoothing=0.9, max_step=0.4
        )

    def decide(self, sensed: Sensed) -> Decision:
        if sensed.warming_up:
            return Decision(None, "warm-up")
        slopes = self._probe.measure(self.model, self.knobs)
        change = self._controller.update(slopes)
        offsets = self.knobs.within_room(self.knobs.offsets + change)
        by_path = dict(zip(self.knobs.live, slopes.tolist(), strict=True))
        named = ", ".join(f"{path} {slope:+.1e}" for path, slope in by_path.items())
        return Decision(
            offsets, "hypergradient", f"slopes {named}", {"slopes": by_path}
        )
