"""A pipeline that callbacks put around the optimizer of a model for one `fit`."""

from collections.abc import MutableMapping, Sequence
from typing import ClassVar, Self

import numpy as np
import tensorflow as tf

from keras_ext._anatomy._unit_axes import unit_axes
from keras_ext._core._checks import require
from keras_ext._core._typing import Logs, Record, Tensor, Variable
from keras_ext._engine._batch_weight import BatchWeight
from keras_ext._engine._fail_if_unused import fail_if_unused
from keras_ext._engine._gradient_pipeline import GradientPipeline
from keras_ext._engine._gradient_signal import GradientSignal
from keras_ext._engine._pipeline_part import PipelinePart
from keras_ext._engine._recovery import Recovery
from keras_ext._engine._rollback import Rollback
from keras_ext._engine._skip_non_finite import SkipNonFinite
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._memory import memory_of, numbered, recall
from keras_ext._fit._values import assign_values, values_of
from keras_ext._live._hyper_variable import HyperVariable


class AttachedPipeline(GradientPipeline):
    """Wraps the optimizer of a model while it trains.

    Several callbacks share one: each adds its parts in `set_model`. It is built when
    training begins, with the parts of all, and gone when their `FitScope` is closed.
    To everyone who saves the model meanwhile it is the optimizer that it wraps.

    Args:
        scope: The scope of the `fit`.
    """

    only_moves_hint: ClassVar[str] = "Leave out the callback that they are from."
    # The scope does.
    undoes_batches: ClassVar[bool] = False

    def __init__(self, scope: FitScope) -> None:
        super().__init__(scope.optimizer)
        self._scope = scope
        self._forbids_nonfinite = False
        self._batch_weight: BatchWeight | None = None
        self._rollback = Rollback(scope.model, self)
        scope.link("train_step", self._rollback.around)
        self._recovery: Recovery | None = None
        self._counted = 0

    @classmethod
    def of(cls, scope: FitScope) -> Self:
        """The pipeline around the optimizer of the model, made if need be."""
        present = scope.shared.get("optimizer")
        hint = "Where replicas make updates of their own there is no such gradient."
        rule = "without one that needs the gradient of the whole batch"
        fits = present is None or isinstance(present, cls)
        require(fits, "callbacks", type(present).__name__, rule, hint)
        if present is None:
            with scope.model.distribute_strategy.scope():
                present = scope.shared["optimizer"] = cls(scope)
            scope.wrap_optimizer(present)
            scope.on_finish(present.flush)
            fail_if_unused(scope, present)
        return present

    def add_transform(self, part: PipelinePart) -> None:
        """Appends a part."""
        # The callbacks look every 50 batches, and their error says more.
        part.leave_checks_to_host()
        self.transforms.append(part)

    def forbid_nonfinite(self) -> None:
        """Makes `check` raise after an update that was not finite.

        Several callbacks may ask for it; the step looks once.
        """
        if not self._forbids_nonfinite:
            self._forbids_nonfinite = True
            self.add_transform(SkipNonFinite(max_consecutive=0))

    def recover_from_nonfinite(self) -> None:
        """Makes `check` go back to good weights when updates come to nothing."""
        if self._recovery is None:
            self._recovery = Recovery(self._scope, self)
            self.add_transform(self._recovery.gate)

    def check(self) -> None:
        if self._recovery is not None and self.built:
            self._recovery.look()
        super().check()

    def newly_left_out(self) -> int:
        """How many updates were left out since this was asked last."""
        before, self._counted = self._counted, self.nonfinite_steps
        return self._counted - before

    def add_signal(self, signal: GradientSignal) -> None:
        """Appends a signal."""
        self.signals.append(signal)

    def allow_accumulation(self, most: int) -> HyperVariable:
        """Lets the number of accumulation steps move between 1 and at least `most`."""
        most = max(most, int(self.accumulation_steps.bounds[1] or 1))
        self.accumulation_steps = HyperVariable(
            1, "accumulation_steps", bounds=(1, most), scale="log", dtype="int32"
        )
        return self.accumulation_steps

    def weigh_samples(self, unit: int) -> None:
        """Makes a micro-batch count by what it holds when accumulating.

        Otherwise all count the same, also a last one with fewer samples.

        Args:
            unit: See `BatchWeight`.
        """
        if self._batch_weight is None:
            self._batch_weight = BatchWeight(self._scope, unit)
            self._micro_batch_weight = self._batch_weight.weight

    def scale_loss(self, loss: Tensor) -> Tensor:
        if self._batch_weight is not None and self.accumulates:
            self.build(self._scope.model.trainable_variables)
            is_first = self.begins_update()
            is_alone = tf.logical_and(is_first, self.accumulation_steps.value <= 1)
            loss = self._batch_weight.weigh(loss, is_alone, is_first)
        return super().scale_loss(loss)

    def begin(self) -> None:
        """Builds everything, once all owners have joined.

        A model that is not built yet, since nobody gave it an input shape, is built in
        its first step, and the pipeline then too.
        """
        model = self._scope.model
        if model.built:
            with model.distribute_strategy.scope():
                self.build(model.trainable_variables)

    def begin_epoch(self) -> None:
        """Is called before the first batch of an epoch, maybe by several."""
        self._rollback.begin_epoch()
        if self._recovery is not None and self.built:
            self._recovery.begin()

    def correct(self, logs: Logs) -> None:
        """See `Rollback`."""
        self._rollback.correct(logs)

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        model = self._scope.model
        self.unit_axes = unit_axes(model)
        super().build(variables)
        self._rollback.build()
        if self._recovery is not None:
            self._recovery.build()

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        # Keras calls this after the last epoch and before `on_train_end` of anybody:
        # what is left is applied before weights are restored, averaged or written.
        self.flush()
        super().finalize_variable_values(var_list)

    # What a training that goes on needs of it, see `TrainingRun`.

    def get_state(self) -> Record:
        """What it has accumulated, and what its transforms and signals remember."""
        state: Record = {name: values_of(v) for name, v in self._parts().items()}
        if self._recovery is not None:
            state["recovery"] = memory_of(self._recovery)
        return state

    def set_state(self, state: Record) -> None:
        """Goes on with what another one of the same parts has returned."""
        for name, variables in self._parts().items():
            # Of another one with other parts, those that there are here.
            if name in state:
                whose = f"{name.rpartition('_')[0]} in the callbacks"
                assign_values(variables, state[name], whose)
        self._counted = self.nonfinite_steps
        if self._recovery is not None:
            recall(self._recovery, state.get("recovery", {}))

    def _parts(self) -> dict[str, list[Variable]]:
        """The variables of each part, and its own, by name."""
        if not self.built:
            return {}
        found = {name: list(part.state) for name, part in numbered(self.transforms)}
        for name, signal in numbered(self.signals):
            live = (hyper.build() for hyper in signal.hyper_variables)
            found[name] = [*signal.state, *live]
        of_parts = {id(v) for part in self.transforms for v in part.state}
        own = [v for v in self.own_variables if id(v) not in of_parts]
        counts, accumulation = own[:2], own[2:]
        if self.accumulates:
            found["Accumulation_1"] = accumulation
        return {**found, "Counts_1": counts}

    # A file that is saved meanwhile holds the state of the wrapped optimizer where it
    # would be without the pipeline. (Its config is what `compile` was given.)

    def save_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        self.optimizer.save_own_variables(store)

    def load_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        self.optimizer.load_own_variables(store)
