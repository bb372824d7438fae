"""The base of the callbacks that move a learning rate by the loss that came of it."""

import math
from typing import ClassVar

import numpy as np
from keras import ops

from keras_ext._core._checks import flag, integer
from keras_ext._core._typing import Data, Logs, Record, Tensor, Variable
from keras_ext._fit._fit_scope import FitScope
from keras_ext._keras._optimizer_family import build_optimizer
from keras_ext.callbacks._batch_count import BatchCount
from keras_ext.callbacks.regularization._data_of_fit import given_rows, rows_to_train_on
from keras_ext.callbacks.schedules._rate_callback import RateCallback
from keras_ext.signals import LossProbe

# A loss that doubles is a step to be taken back.
_BURST = math.log(2)


class ProbedRate(RateCallback):
    """Multiplies the learning rate now and then, by what the loss on fixed rows did.

    Args:
        train_data: `(x, y)` or a dataset to measure the loss on. None means rows of
            what `fit` trains on.
        every: The batches between decisions.
        rollback: Whether to take back what made the loss double.
        min_multiplier: The smallest number to multiply by.
        max_multiplier: The largest.
        verbose: As in `RateCallback`.
    """

    remembered: ClassVar[tuple[str, ...]] = (
        "_loss",
        "_count",
        "_decided",
        "_last",
        "rollbacks",
    )

    def __init__(
        self,
        train_data: Data,
        *,
        every: int,
        rollback: bool,
        min_multiplier: float,
        max_multiplier: float,
        verbose: int,
    ) -> None:
        super().__init__(
            min_multiplier=min_multiplier,
            max_multiplier=max_multiplier,
            verbose=verbose,
        )
        self.train_data = train_data
        self._rows = given_rows(train_data)
        self.every = integer(every, "every", low=1)
        self.rollback = flag(rollback, "rollback")
        self.rollbacks = 0

    def first_factor(self, loss: float) -> float:
        """Returns what to multiply by before there is anything to judge.

        Args:
            loss: The loss before the first batch.
        """
        raise NotImplementedError

    def next_factor(self, fall: float, loss: float) -> float:
        """Returns what to multiply by next.

        Args:
            fall: By how much the logarithm of the loss fell since the last decision.
            loss: The loss now.
        """
        raise NotImplementedError

    def multiplier_after_burst(self, before: float) -> float:
        """Returns where the multiplier goes back to, which the next factor is for.

        Args:
            before: The one before the decision that made the loss burst.
        """
        # If a smaller one has burst as well, the one before is too large.
        return min(before, self.multiplier)

    def factor_after_burst(self) -> float:
        """Returns what to multiply by after the loss has doubled, or became NaN."""
        raise NotImplementedError

    def attach(self, scope: FitScope) -> None:
        super().attach(scope)
        model = scope.model
        self._probe = LossProbe(rows_to_train_on(model, self._rows))
        if model.built:
            self._probe.prepare(model, name="train_data")
        self._loss = math.nan
        self._count = BatchCount()
        self._decided = 0
        self.rollbacks = 0
        self._copy: list[tuple[Variable, Tensor]] = []
        self._last = 1.0
        self._is_last = False

    def get_state(self) -> Record:
        copy = [np.array(ops.convert_to_numpy(value)) for _, value in self._copy]
        return {**super().get_state(), "copy": copy}

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        copy, variables = state.get("copy", []), self._written()
        if [v.shape for v in copy] == [tuple(v.shape) for v in variables]:
            tensors = map(ops.convert_to_tensor, copy)
            self._copy = list(zip(variables, tensors, strict=True))

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        done = self._count.before(self, batch)
        if done == 0 or done - self._decided >= self.every:
            self._decided = done
            self._decide()

    def _decide(self) -> None:
        loss = self._probe.measure(self.model)
        if not math.isfinite(self._loss):
            self._loss = loss
            factor = self.first_factor(loss)
        else:
            factor = self._judged(loss)
        self._keep()
        self._last = self.multiplier
        self.multiply(factor)

    # What the last batches did is judged by no next decision, but at the end of the
    # last epoch: before others put weights of their own on the model, if possible.

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._is_last = epoch + 1 == (self.params or {}).get("epochs")

    def on_test_begin(self, logs: Logs = None) -> None:
        self._take_back_burst()

    def before_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._take_back_burst()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._is_last = self._is_last or self.model.stop_training
        self._take_back_burst()
        super().on_epoch_end(epoch, logs)

    def _take_back_burst(self) -> None:
        if not (self._is_last and self._copy):
            return
        self._is_last = False
        fall = _fall(self._loss, self._probe.measure(self.model))
        if fall is None or fall < -_BURST:
            self._go_back()

    def _judged(self, loss: float) -> float:
        """The next factor, after what the last one has brought."""
        fall = _fall(self._loss, loss)
        if fall is None or fall < -_BURST:
            if self.rollback:
                self._go_back()
            else:
                self._loss = loss
            return self.factor_after_burst()
        self._loss = loss
        return self.next_factor(fall, loss)

    def _keep(self) -> None:
        if self.rollback:
            # The first step would build it, and may be taken back.
            build_optimizer(self.model)
            self._copy = [(v, ops.copy(v)) for v in self._written()]

    def _go_back(self) -> None:
        for variable, value in self._copy:
            variable.assign(value)
        self.set_multiplier(self.multiplier_after_burst(self._last))
        self.rollbacks += 1

    def summary(self) -> str:
        count = self.rollbacks
        times = "once" if count == 1 else f"{count} times"
        return super().summary() + (f", after going back {times}" if count else "")

    def _written(self) -> list[Variable]:
        """What training writes, but for counters, seeds and the rate itself."""
        optimizer = self.model.optimizer
        numbers = {id(v) for v in optimizer.variables if len(v.shape) == 0}
        found = [*self.model.variables, *optimizer.variables]
        return [
            v
            for v in {id(v): v for v in found}.values()
            # Keras calls the state of every seed generator so.
            if id(v) not in numbers and v.name != "seed_generator_state"
        ]


def _fall(before: float, after: float) -> float | None:
    """By how much the logarithm of the loss fell; None if it is not finite."""
    if not (math.isfinite(before) and math.isfinite(after)):
        return None
    if before > 0 and after > 0:
        return math.log(before) - math.log(after)
    # Below 0 there is no logarithm.
    return (before - after) / max(abs(before), 1e-12)
