"""Moves the momentum of the optimizer by a schedule."""

from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_ext._core._checks import choice, require
from keras_ext._core._typing import Logs, Tensor
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._keras._optimizer_family import stepping_optimizer
from keras_ext.callbacks.schedules._moved_momentum import FIRST_MOMENT, MovedMomentum

_NAMES = (*FIRST_MOMENT, "beta_2", "rho")
# A momentum of 1 would forget nothing.
_LARGEST = 0.999999


class MomentumSchedule(ScopedCallback):
    """Lets the momentum of the optimizer follow a schedule, update by update.

    A learning rate can be a schedule in Keras, a momentum cannot. Here it is one of the
    same kind, read at the `iterations` of the optimizer as the schedule of the learning
    rate is, by the running step itself: also with `steps_per_execution`, with
    accumulation, and when a training goes on. Use it to lower the momentum where the
    learning rate is high; for one cycle of both see `OneCycle`. At the end of `fit` the
    optimizer has its own momentum again.

    Logs `momentum`, what the next update will use.

    Args:
        schedule: A schedule of `keras_ext.schedules` or
            `keras.optimizers.schedules`, whose values are momenta, in [0, 1).
        name: Which number of the optimizer: `"momentum"`, `"beta_1"`, `"beta_2"` or
            `"rho"`. None means the momentum, as `SGD` has it, or `beta_1`, as `Adam`.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, if the
            optimizer has no such number. (0 does not count: Keras makes no room
            for it then.)

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
        >>> fall = keras.optimizers.schedules.PolynomialDecay(0.9, 4, 0.5)
        >>> momentum = kx.callbacks.MomentumSchedule(fall)
        >>> x, y = np.ones((8, 2)), np.ones((8, 1))
        >>> history = model.fit(
        ...     x, y, batch_size=4, epochs=3, callbacks=[momentum], verbose=0
        ... )
        >>> [round(value, 2) for value in history.history["momentum"]]
        [0.7, 0.5, 0.5]
        >>> model.optimizer.momentum
        0.9
    """

    def __init__(
        self, schedule: LearningRateSchedule, *, name: str | None = None
    ) -> None:
        super().__init__()
        is_schedule = isinstance(schedule, LearningRateSchedule)
        expected = "a keras.optimizers.schedules.LearningRateSchedule"
        require(is_schedule, "schedule", schedule, expected)
        self.schedule = schedule
        self.name = choice(name, "name", _NAMES, optional=True)

    def attach(self, scope: FitScope) -> None:
        self._optimizer = stepping_optimizer(scope.optimizer)
        names = FIRST_MOMENT if self.name is None else (self.name,)
        self._moved = MovedMomentum(scope, self, self._optimizer, names, self._value)
        hint = "Keras's SGD and RMSprop have none unless it is given: momentum=0.9."
        kind = type(self._optimizer).__name__
        rule = f"one with {' or '.join(names)}"
        require(bool(self._moved.names), "model.optimizer", kind, rule, hint)

    def _value(self) -> Tensor:
        step = ops.convert_to_tensor(self._optimizer.iterations)
        value = ops.cast(self.schedule(step), "float32")
        return ops.clip(value, 0.0, _LARGEST)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._moved.refresh()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["momentum"] = self._moved.present()
