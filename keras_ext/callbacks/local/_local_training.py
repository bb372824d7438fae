"""The base of the callbacks that let replicas train on their own."""

import keras
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._typing import Logs, Optimizer
from keras_ext._engine._gradient_pipeline import GradientPipeline
from keras_ext._engine._local_updates import LocalUpdates
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._keras import _optimizer_family

# Where a variable has a copy on every replica.
_STRATEGIES = (
    tf.distribute.MirroredStrategy,
    tf.distribute.MultiWorkerMirroredStrategy,
    tf.distribute.TPUStrategy,
)


class LocalTraining(ScopedCallback):
    """Puts `LocalUpdates` around the optimizer of the model while it trains.

    A subclass says in `make_updates` what kind. Between the epochs, for whoever
    evaluates or saves, and at the end, all replicas have the same weights.
    """

    def make_updates(self, scope: FitScope) -> LocalUpdates:
        """Returns what is put around the optimizer of the model."""
        raise NotImplementedError

    def attach(self, scope: FitScope) -> None:
        _require_fit(scope)
        with scope.model.distribute_strategy.scope():
            self._updates = self.make_updates(scope)
        self._updates.attach()
        self._is_shown = False

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._updates.begin()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if self._is_shown:
            self._updates.hide()
        self._is_shown = False
        self._updates.begin_epoch()

    def before_epoch_end(self, epoch: int, logs: Logs) -> None:
        super().before_epoch_end(epoch, logs)
        self._updates.correct(logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._updates.show()
        self._is_shown = True
        if logs is not None:
            logs["synchronizations"] = self._updates.synchronizations
            logs["nonfinite_steps"] = self._updates.left_out


def _require_fit(scope: FitScope) -> None:
    """Raises if the model cannot be trained so, and says why."""
    model, optimizer = scope.model, scope.optimizer
    strategy = model.distribute_strategy
    alone = strategy.num_replicas_in_sync == 1
    require(
        alone or isinstance(strategy, _STRATEGIES),
        "model.distribute_strategy",
        strategy,
        "one that keeps a copy of the weights on every replica",
        hint="MirroredStrategy and MultiWorkerMirroredStrategy do.",
    )
    require(
        alone or model.jit_compile is not True,
        "model.jit_compile",
        model.jit_compile,
        "False with several replicas",
        hint="TensorFlow cannot leave a step that XLA compiles to reduce something.",
    )
    _require_plain(optimizer)


def _require_plain(optimizer: Optimizer) -> None:
    for member in _optimizer_family.optimizer_family(optimizer):
        require(
            not isinstance(member, GradientPipeline | LocalUpdates),
            "model.optimizer",
            type(member).__name__,
            "without a GradientPipeline or another callback of this kind",
            hint="Callbacks and transforms that need the gradient of the whole batch "
            "have none where replicas make updates of their own.",
        )
        require(
            not isinstance(member, keras.optimizers.LossScaleOptimizer),
            "model.optimizer",
            type(member).__name__,
            "without loss scaling",
            hint="Each replica would need a scale of its own. Use the policy "
            "'mixed_bfloat16', which needs none.",
        )
        for name, wanted in (("use_ema", False), ("gradient_accumulation_steps", None)):
            value = getattr(member, name, wanted)
            hint = "It would be reduced over the replicas at every step."
            require(value == wanted, f"optimizer.{name}", value, f"{wanted}", hint)
