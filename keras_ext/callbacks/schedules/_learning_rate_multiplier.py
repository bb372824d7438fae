"""Lets a controller multiply the learning rate."""

from copy import deepcopy
from typing import ClassVar

from keras_ext._core._checks import choice, require
from keras_ext._core._typing import Logs
from keras_ext._fit._fit_scope import FitScope
from keras_ext.callbacks._monitored import monitored
from keras_ext.callbacks.schedules._rate_callback import RateCallback, answered_factor
from keras_ext.controllers import Controller, Plateau
from keras_ext.controllers._controller import check_controller


class LearningRateMultiplier(RateCallback):
    """Multiplies the learning rate, also that of a schedule, as a controller says.

    After each epoch, or each validation, the controller gets a value from the logs and
    answers what to multiply the learning rate by from then on. The default, a
    `keras_ext.controllers.Plateau`, halves it when the value has not improved for three
    epochs. The learning rate may be a number or a schedule; Keras's `ReduceLROnPlateau`
    takes only a number. At the end of `fit` it has its own rate again, so that the next
    `fit` begins with it.

    Logs `learning_rate_multiplier`.

    Args:
        controller: A `keras_ext.controllers.Controller` of the monitored value. None
            means a `Plateau`.
        monitor: Name of a value in the logs. Defaults to `"val_loss"`.
        answers: What the controller answers: `"factor"`, what to multiply by, as
            `Plateau`; or `"change"`, of the logarithm, as `PI`.
            Defaults to `"factor"`.
        min_multiplier: Number > 0, the smallest number to multiply by in all.
            Defaults to `0.0001`.
        max_multiplier: Number > 0, the largest. Defaults to `10000.0`.
        verbose: `1` to print a line at the end with the last multiplier, unless `fit`
            is told `verbose=0`; `0` to be silent. Defaults to `1`.

    Raises:
        ValueError: If an argument is out of range; when training begins, if the
            optimizer has several learning rates or another callback moves it; or at the
            end of an epoch, if the logs do not have the value.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(kx.schedules.Warmup(0.1, 4)), "mse")
        >>> plateau = kx.controllers.Plateau(factor=0.1, patience=1, min_delta=9.0)
        >>> multiplier = kx.callbacks.LearningRateMultiplier(plateau, monitor="loss")
        >>> x, y = np.ones((8, 2)), np.ones((8, 1))
        >>> history = model.fit(x, y, epochs=3, callbacks=[multiplier], verbose=0)
        >>> [round(m, 3) for m in history.history["learning_rate_multiplier"]]
        [1.0, 0.1, 0.01]
    """

    remembered: ClassVar[tuple[str, ...]] = ("_controller",)

    def __init__(
        self,
        controller: Controller | None = None,
        *,
        monitor: str = "val_loss",
        answers: str = "factor",
        min_multiplier: float = 1e-4,
        max_multiplier: float = 1e4,
        verbose: int = 1,
    ) -> None:
        super().__init__(
            min_multiplier=min_multiplier,
            max_multiplier=max_multiplier,
            verbose=verbose,
        )
        self.controller = check_controller(controller)
        valid = isinstance(monitor, str)
        require(valid, "monitor", monitor, "the name of a value in the logs")
        self.monitor = monitor
        self.answers = choice(answers, "answers", ("factor", "change"))

    def attach(self, scope: FitScope) -> None:
        super().attach(scope)
        # Every training begins with it as it was given.
        self._controller = deepcopy(self.controller) or Plateau()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        value = monitored(self, logs or {})
        if value is not None:
            self.multiply(answered_factor(self._controller, value, self.answers))
        super().on_epoch_end(epoch, logs)
