"""One strength for all, by the overfitting gap."""

from keras_ext.callbacks.regularization._rules._regularization_rule import (
    Decision,
    RegularizationRule,
    Sensed,
)
from keras_ext.controllers.continuous._overfit_guards import OverfitGuards
from keras_ext.controllers.continuous._pi import PI


class ByGap(RegularizationRule):
    """Moves all by the same offset, so that the gap comes to its target.

    Args:
        target_gap: The gap to aim at.
    """

    def __init__(self, target_gap: float) -> None:
        self._strength = 0.0
        self._controller = PI(target_gap)
        self._guards = OverfitGuards(min_progress=0.01, max_damage=0.05)

    def decide(self, sensed: Sensed) -> Decision:
        wanted = 0.0 if sensed.warming_up else self._controller.update(sensed.gap)
        # They look on while it warms up, to know how the losses were.
        change, reason = self._guards.admitted(
            wanted, sensed.training_loss, sensed.validation_loss
        )
        if sensed.warming_up:
            return Decision(None, "warm-up")
        span = self.knobs.span
        self._strength = min(max(self._strength + change, -span), span)
        return Decision(self._strength, reason or "gap")
