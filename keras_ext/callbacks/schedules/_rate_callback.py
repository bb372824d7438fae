"""The base of the callbacks that multiply a learning rate, whatever it comes from."""

import math
from typing import ClassVar

from keras_ext._core._checks import number, require
from keras_ext._core._typing import Logs
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._keras._optimizer_family import stepping_optimizer
from keras_ext._live._learning_rate_gain import LearningRateGain
from keras_ext.callbacks._announcement import tell, verbosity
from keras_ext.controllers._controller import Controller


class RateCallback(ScopedCallback):
    """Multiplies the learning rate of the optimizer, a number or a schedule.

    Args:
        min_multiplier: The smallest number to multiply by.
        max_multiplier: The largest.
        verbose: `1` to print a line at the end of training, `0` to be silent.
    """

    remembered: ClassVar[tuple[str, ...]] = ("_gain",)

    def __init__(
        self, *, min_multiplier: float, max_multiplier: float, verbose: int = 1
    ) -> None:
        super().__init__()
        self.verbose = verbosity(verbose)
        self.min_multiplier = number(min_multiplier, "min_multiplier", above=0)
        self.max_multiplier = number(max_multiplier, "max_multiplier", above=0)
        around = self.min_multiplier <= 1 <= self.max_multiplier
        both = (min_multiplier, max_multiplier)
        require(around, "min_multiplier, max_multiplier", both, "around 1")

    def attach(self, scope: FitScope) -> None:
        optimizer = stepping_optimizer(scope.optimizer)
        scope.claim(optimizer, "optimizer/learning_rate", self)
        accumulates = vars(optimizer).get("gradient_accumulation_steps")
        hint = "Use keras_ext.optimizers.GradientPipeline(accumulation_steps=...)."
        rule = "None with this callback"
        name = "gradient_accumulation_steps"
        require(not accumulates, name, accumulates, rule, hint)
        with scope.model.distribute_strategy.scope():
            self._gain = LearningRateGain(optimizer)
        scope.on_close(self._gain.release)

    @property
    def multiplier(self) -> float:
        """What the learning rate is multiplied by now."""
        return self._gain.gain

    def multiply(self, factor: float) -> None:
        """Multiplies the multiplier, within its bounds."""
        wanted = self.multiplier * max(factor, 0.0)
        self.set_multiplier(min(max(wanted, self.min_multiplier), self.max_multiplier))

    def set_multiplier(self, value: float) -> None:
        """Sets what to multiply by."""
        if not math.isclose(value, self.multiplier, rel_tol=1e-9):
            self._gain.assign(value)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["learning_rate_multiplier"] = self.multiplier

    def on_train_end(self, logs: Logs = None) -> None:
        tell(self, self.summary())
        super().on_train_end(logs)

    def summary(self) -> str:
        """What came of it, for the line at the end."""
        return f"the learning rate was multiplied by {self.multiplier:.3g} in the end"


def answered_factor(controller: Controller, measurement: float, answers: str) -> float:
    """What a controller wants to multiply by.

    Raises:
        ValueError: If its answer is no finite number, or none to multiply by.
    """
    answer = controller.update(measurement)
    is_number = isinstance(answer, (int, float)) and math.isfinite(answer)
    valid = is_number and (answers == "change" or answer > 0)
    name = f"{type(controller).__name__}.update({measurement:.4g})"
    rule = "a finite number" if answers == "change" else "a number > 0"
    hint = 'Is it a change? Then pass answers="change".'
    require(valid, name, answer, rule, hint if answers == "factor" else "")
    if answers == "factor":
        return float(answer)
    # `exp` of 710 overflows; the bounds of the multiplier are reached long before.
    return math.exp(min(max(float(answer), -50.0), 50.0))
