"""One strength for all, by the overfitting gap."""

from typing import ClassVar

from keras_ext.callbacks.regularization._rules._regularization_rule import (
    Decision,
    RegularizationRule,
    Sensed,
)
from keras_ext.controllers._controller import Controller, change_by
from keras_ext.controllers.continuous._overfit_guards import OverfitGuards


class ByGap(RegularizationRule):
    """Moves all by the same offset, as a controller of the gap says, within guards.

    Args:
        controller: Is told the gap.
    """

    remembered: ClassVar[tuple[str, ...]] = ("_strength", "_controller", "_guards")

    def __init__(self, controller: Controller) -> None:
        self._strength = 0.0
        self._controller = controller
        self._guards = OverfitGuards(min_progress=0.01, max_damage=0.05)

    def decide(self, sensed: Sensed) -> Decision:
        wanted = 0.0
        if not sensed.warming_up:
            wanted = change_by(self._controller, sensed.gap)
        # They look on while it warms up, to know how the losses were.
        change, reason = self._guards.admitted(
            wanted, sensed.training_loss, sensed.validation_loss
        )
        if sensed.warming_up:
            return Decision(None, "warm-up")
        span = self.knobs.span
        self._strength = min(max(self._strength + change, -span), span)
        return Decision(self._strength, reason or "gap")
