"""Going back to weights that were good when updates come to nothing."""

import warnings
from typing import ClassVar

import keras
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._linked_method import Method, link_method
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._forwarding_optimizer import ForwardingOptimizer
from keras_ext._engine._rollback import written_by_batches
from keras_ext._engine._skip_non_finite import SkipNonFinite
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._training_run import TrainingRun
from keras_ext._keras._learning_rate import READ, own_learning_rate
from keras_ext._live._hyper_variable import HyperVariable

# More left out in a row are not bad data: the weights themselves lead to NaN.
_MAX_CONSECUTIVE = 10
# What the learning rate is multiplied by each time.
_FACTOR = 0.5
# A training that needs more than that is beyond help.
_MAX_RECOVERIES = 5


class Recovery:
    """Restores weights, optimizer and statistics when training has run into NaN.

    At each look at which the last update was made, and before the first update, it
    keeps a copy of all of them on the device. When more than ten updates in a row were
    left out, it goes back to the last copy, and to the one before if that leads there
    again, halves the learning rate, and says so in a warning.

    Args:
        scope: The scope of the `fit`.
        optimizer: What the callbacks have wrapped the optimizer of the model with.
    """

    remembered: ClassVar[tuple[str, ...]] = ("_count", "_factor")

    def __init__(self, scope: FitScope, optimizer: ForwardingOptimizer) -> None:
        self._scope = scope
        self._optimizer = optimizer
        self.gate = SkipNonFinite(max_consecutive=_MAX_CONSECUTIVE)
        self._copies: list[list[tuple[Variable, Tensor]]] = []
        # What schedules are multiplied by, also those by the epoch, for the time of
        # this `fit`. A learning rate that is a number is halved where it is kept.
        self._factor = HyperVariable(1.0, "factor")
        self._count = 0

    def build(self) -> None:
        """Is called when the optimizer is built, and its step not traced yet."""
        inner = self._optimizer.inner_optimizer
        is_number = isinstance(own_learning_rate(inner), keras.Variable)
        # A callback may let the step read another one than the optimizer has.
        if READ in vars(inner) or not is_number:
            self._factor.build()
            self._scope.on_close(link_method(inner, READ, self._multiplying))
            return
        run = TrainingRun.present(self._scope.model)
        for callback in run.owner.callbacks if run is not None else ():
            if isinstance(callback, keras.callbacks.LearningRateScheduler):
                undo = link_method(callback, "schedule", self._multiplying_by_epoch)
                self._scope.on_close(undo)

    def _multiplying(self, read: Method) -> Method:
        return lambda: self._factor.value * ops.cast(read(), "float32")

    def _multiplying_by_epoch(self, schedule: Method) -> Method:
        def multiplied(epoch: int, *rate: float) -> float:
            factor = float(self._factor)
            if factor == 1.0:
                return schedule(epoch, *rate)
            # A schedule that goes on from the present rate finds the one of its own.
            return factor * schedule(epoch, *(x / factor for x in rate))

        return multiplied

    def begin(self) -> None:
        """Keeps what the training begins with, if there is no copy yet."""
        if not self._copies:
            self._copies = [self._copied()]

    def look(self) -> None:
        """Keeps a copy, or goes back; on the host.

        Raises:
            FloatingPointError: If it has gone back too often.
        """
        if not self.gate.has_failed:
            if self.gate.in_a_row == 0:
                self._copies = [*self._copies[-1:], self._copied()]
            return
        if self._count >= _MAX_RECOVERIES:
            self.gate.check()
        self._go_back()

    def _copied(self) -> list[tuple[Variable, Tensor]]:
        model = self._scope.model
        metrics = {id(v) for v in model.metrics_variables}
        rest = [v for v in written_by_batches(model) if id(v) not in metrics]
        variables = [
            *model.trainable_variables,
            *rest,
            *self._optimizer.optimizer.variables,
        ]
        return [(v, tf.identity(v.value)) for v in variables]

    def _go_back(self) -> None:
        rate = float(ops.convert_to_numpy(self._optimizer.learning_rate))
        for variable, value in self._copies[-1]:
            variable.assign(value)
        # Should it lead to NaN again, the one before is tried.
        self._copies = self._copies[:1]
        self._lower(rate)
        self.gate.reset()
        self._count += 1
        warnings.warn(
            f"More than {_MAX_CONSECUTIVE} updates in a row were NaN or infinite. The "
            "weights, the optimizer and the statistics of layers are those of the last "
            f"good look again, and the learning rate is {rate * _FACTOR:.3g}.",
            stacklevel=2,
        )

    def _lower(self, rate: float) -> None:
        self._factor.assign(float(self._factor) * _FACTOR)
        if not self._factor.built:
            self._optimizer.inner_optimizer.learning_rate = rate * _FACTOR
