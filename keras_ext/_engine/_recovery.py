"""Going back to weights that were good when updates come to nothing."""

import warnings

import keras
import tensorflow as tf
from keras import ops

from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._forwarding_optimizer import ForwardingOptimizer
from keras_ext._engine._rollback import written_by_batches
from keras_ext._engine._skip_non_finite import SkipNonFinite
from keras_ext._fit._fit_scope import FitScope
from keras_ext._keras._learning_rate import own_learning_rate
from keras_ext._live._learning_rate_gain import LearningRateGain

# More left out in a row are not bad data: the weights themselves lead to NaN.
_MAX_CONSECUTIVE = 10
# What the learning rate is multiplied by each time.
_FACTOR = 0.5
# A training that needs more than that is beyond help.
_MAX_RECOVERIES = 5


class Recovery:
    """Restores weights, optimizer and statistics when training has run into NaN.

    At each look at which the last update was made, it keeps a copy of all of them on
    the device. When more than ten updates in a row were left out, it goes back to the
    last copy, and to the one before if that leads there again, halves the learning
    rate, and says so in a warning.

    Args:
        scope: The scope of the `fit`.
        optimizer: What the callbacks have wrapped the optimizer of the model with.
    """

    def __init__(self, scope: FitScope, optimizer: ForwardingOptimizer) -> None:
        self._scope = scope
        self._optimizer = optimizer
        self.gate = SkipNonFinite(max_consecutive=_MAX_CONSECUTIVE)
        self._copies: list[list[tuple[Variable, Tensor]]] = []
        self._gain: LearningRateGain | None = None
        self._count = 0

    def look(self) -> None:
        """Keeps a copy, or goes back; on the host.

        Raises:
            FloatingPointError: If it has gone back too often, or there is no copy.
        """
        if not self.gate.has_failed:
            if self.gate.in_a_row == 0:
                self._copies = [*self._copies[-1:], self._copied()]
            return
        if self._count >= _MAX_RECOVERIES or not self._copies:
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
        inner = self._optimizer.inner_optimizer
        if isinstance(own_learning_rate(inner), keras.Variable):
            inner.learning_rate = rate * _FACTOR
            return
        # A schedule is multiplied, for the time of this `fit`.
        if self._gain is None:
            self._gain = LearningRateGain(inner)
            self._scope.on_close(self._gain.release)
        self._gain.assign(self._gain.gain * _FACTOR)
