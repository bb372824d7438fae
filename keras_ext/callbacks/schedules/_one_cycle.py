"""One cycle of learning rate and momentum over a `fit`."""

import math
import warnings
from typing import ClassVar

import keras
from keras import ops

from keras_ext._anatomy._linked_method import link_method
from keras_ext._core._checks import flag, integer, number, require
from keras_ext._core._typing import Logs, Record, Tensor
from keras_ext._engine._gradient_pipeline import GradientPipeline
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._keras._learning_rate import READ, own_learning_rate
from keras_ext._keras._optimizer_family import (
    batches_per_update,
    stepping_optimizer,
    updates_so_far,
)
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext.callbacks.schedules._moved_momentum import FIRST_MOMENT, MovedMomentum
from keras_ext.schedules import OneCycle as OneCycleSchedule

_UNKNOWN = (
    "How many updates this fit makes is not known before: pass total_steps, or "
    "steps_per_epoch to fit."
)


class OneCycle(ScopedCallback):
    """Trains with one cycle of the learning rate, and of the momentum against it.

    Over one `fit` the learning rate rises to `max_learning_rate` and falls to almost
    nothing, as `keras_ext.schedules.OneCycle` says, while the momentum, or `beta_1`,
    falls and rises again. Afterwards the optimizer has its own learning rate, a number
    or a schedule, and its own momentum again.

    It needs only the largest learning rate: about the one that
    `keras_ext.diagnostics.find_learning_rate` suggests. The length of the cycle is the
    number of updates of the `fit`, which Keras knows in advance, unless the data have
    unknown length. The running step computes both from the number of updates made, so
    it is right with accumulation and `steps_per_execution`, and on several replicas. A
    training that resumes, with `initial_epoch` or by `BackupAndRestore`, continues the
    cycle.

    Logs `learning_rate` and `momentum`, what the next update will use.

    Args:
        max_learning_rate: Number > 0, the largest learning rate.
        total_steps: Integer >= 2, how many updates the cycle has. None means those of
            the `fit`.
        cycle_momentum: Whether the momentum is cycled, too. None means if the optimizer
            has one.
        base_momentum: Number in [0, 1), the momentum at the largest learning rate.
            Defaults to `0.85`.
        max_momentum: Number in [0, 1), that at the beginning and at the end.
            Defaults to `0.95`.
        pct_start: Number in [0, 1], the share of the updates in which the rate rises.
            Defaults to `0.3`.
        anneal_strategy: `"cos"` or `"linear"`. Defaults to `"cos"`.
        div_factor: Number > 0, by what the maximum is divided at the beginning.
            Defaults to `25.0`.
        final_div_factor: Number > 0, by what the initial rate is divided at the end.
            Defaults to `10000.0`.
        three_phase: As in `keras_ext.schedules.OneCycle`. Defaults to `False`.

    Raises:
        ValueError: If an argument is out of range, or, when training begins, if the
            number of updates is not known, or the optimizer has no momentum to be
            cycled, or several learning rates.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> cycle = kx.callbacks.OneCycle(0.1, pct_start=0.5)
        >>> x, y = np.ones((40, 2)), np.ones((40, 1))
        >>> history = model.fit(
        ...     x, y, batch_size=4, epochs=4, callbacks=[cycle], verbose=0
        ... )
        >>> [round(rate, 3) for rate in history.history["learning_rate"]]
        [0.056, 0.099, 0.042, 0.0]
        >>> [round(beta_1, 2) for beta_1 in history.history["momentum"]]
        [0.9, 0.85, 0.91, 0.95]
        >>> round(float(model.optimizer.learning_rate), 3)
        0.001

    References:
        - [Smith, 2018](https://arxiv.org/abs/1803.09820)
        - [Smith and Topin, 2017](https://arxiv.org/abs/1708.07120)
    """

    compiled = frozenset({"max_learning_rate", "base_momentum", "max_momentum"})
    remembered: ClassVar[tuple[str, ...]] = ("_counts", "_is_placed")

    def __init__(  # noqa: PLR0913
        self,
        max_learning_rate: float,
        *,
        total_steps: int | None = None,
        cycle_momentum: bool | None = None,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        super().__init__()
        self.total_steps = integer(total_steps, "total_steps", low=2, optional=True)
        self.cycle_momentum = cycle_momentum
        if cycle_momentum is not None:
            self.cycle_momentum = flag(cycle_momentum, "cycle_momentum")
        self.base_momentum = number(base_momentum, "base_momentum", low=0, below=1)
        self.max_momentum = number(max_momentum, "max_momentum", low=0, below=1)
        self.options: Record = {
            "pct_start": pct_start,
            "anneal_strategy": anneal_strategy,
            "div_factor": div_factor,
            "final_div_factor": final_div_factor,
            "three_phase": three_phase,
        }
        # It checks its arguments.
        self.max_learning_rate = OneCycleSchedule(
            max_learning_rate, 2, **self.options
        ).max_learning_rate

    def attach(self, scope: FitScope) -> None:
        optimizer = self._optimizer = stepping_optimizer(scope.optimizer)
        scope.claim(optimizer, "optimizer/learning_rate", self)
        # In a list, since each `fit` has its own, maybe on other devices.
        self._counts = [HyperVariable(0, "start", dtype="int32")]
        with scope.model.distribute_strategy.scope():
            self._counts[0].build()
        self._own = own_learning_rate(optimizer)
        names = () if self.cycle_momentum is False else FIRST_MOMENT
        self._moved = MovedMomentum(scope, self, optimizer, names, self._momentum)
        found = bool(self._moved.names) or not self.cycle_momentum
        hint = "Keras's SGD and RMSprop have none unless it is given: momentum=0.9."
        rule = "one with a momentum, or cycle_momentum=False"
        require(found, "model.optimizer", type(optimizer).__name__, rule, hint)
        scope.on_close(link_method(optimizer, READ, lambda _: self._rate))

    # What the step computes.

    def _position(self) -> Tensor:
        made = ops.convert_to_tensor(self._optimizer.iterations)
        return ops.cast(ops.cast(made, "int32") - self._counts[0].value, "float32")

    def _rate(self) -> Tensor:
        return self._schedule(self._position())

    def _momentum(self) -> Tensor:
        high, low = self.max_momentum, self.base_momentum
        return self._schedule.cycle(self._position(), (high, low, high, high))

    # Where the cycle is.

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._per_update = self._batches_per_update()
        self._schedule = OneCycleSchedule(
            self.max_learning_rate, self._known_length(), **self.options
        )
        self._is_placed = False
        self._own_value = self._read_own()

    def _batches_per_update(self) -> int | None:
        """How many batches make an update; None if a callback may change that."""
        put_on = self.fit_scope.shared.get("optimizer")
        # Callbacks that accumulate widen the bounds of the pipeline that is put on.
        if isinstance(put_on, GradientPipeline) and put_on.accumulates:
            return None
        return batches_per_update(self.model.optimizer)

    def _updates(self, epochs: int) -> int | None:
        batches = (self.params or {}).get("steps")
        if batches is None or self._per_update is None:
            return None
        return math.ceil(epochs * batches / self._per_update)

    def _known_length(self) -> int:
        if self.total_steps is not None:
            return self.total_steps
        total = self._updates((self.params or {}).get("epochs", 1))
        require(total is not None, "total_steps", None, "given here", _UNKNOWN)
        return max(total or 0, 2)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if not self._is_placed:
            self._is_placed = True
            made = updates_so_far(self._optimizer)
            # A `fit` with an `initial_epoch` goes on in the middle of the cycle.
            self._counts[0].assign(made - (self._updates(epoch) or 0))

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._moved.refresh()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(ops.convert_to_numpy(self._rate()))
            if self._moved.names:
                logs["momentum"] = self._moved.present()
        value = self._read_own()
        if value != self._own_value:
            self._own_value = value
            warnings.warn(
                "Somebody has set the learning rate of the optimizer, which is not "
                "used while OneCycle moves it.",
                stacklevel=2,
            )

    def _read_own(self) -> float | None:
        if not isinstance(self._own, keras.Variable):
            return None
        return float(ops.convert_to_numpy(self._own))
