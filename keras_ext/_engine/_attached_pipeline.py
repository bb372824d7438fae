"""A pipeline that callbacks put around the optimizer of a model for one `fit`."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from keras_ext._anatomy._linked_method import Link
from keras_ext._anatomy._unit_axes import unit_axes
from keras_ext._core._checks import require
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._fail_if_unused import fail_if_unused
from keras_ext._engine._gradient_pipeline import GradientPipeline
from keras_ext._engine._gradient_signal import GradientSignal
from keras_ext._engine._gradient_transform import GradientTransform
from keras_ext._engine._skip_non_finite import SkipNonFinite
from keras_ext._fit._fit_scope import FitScope
from keras_ext._live._hyper_variable import HyperVariable


class AttachedPipeline(GradientPipeline):
    """Wraps the optimizer of a model while it trains.

    Several callbacks share one: each adds its parts in `set_model`. It is built when
    training begins, with the parts of all, and gone when their `FitScope` is closed.
    To everyone who saves the model meanwhile it is the optimizer that it wraps.

    Args:
        scope: The scope of the `fit`.
    """

    def __init__(self, scope: FitScope) -> None:
        super().__init__(scope.optimizer)
        self._scope = scope
        self._forbids_nonfinite = False

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

    def add_transform(self, transform: GradientTransform) -> None:
        """Appends a transform."""
        if isinstance(transform, SkipNonFinite):
            # Its owners look often enough: the step need not look too.
            transform.raise_in_step = False
        self.transforms.append(transform)

    def forbid_nonfinite(self) -> None:
        """Makes `check` raise after an update that was not finite.

        Several callbacks may ask for it; the step looks once.
        """
        if not self._forbids_nonfinite:
            self._forbids_nonfinite = True
            self.add_transform(SkipNonFinite(max_consecutive=0))

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
        """Makes a micro-batch count by its number of samples when accumulating.

        Otherwise all count the same, also a last one with fewer samples. It takes a
        `train_step` that calls `optimizer.scale_loss`, as that of Keras does: the loss
        is multiplied, and not the gradient, which would be another pass over it.

        Args:
            unit: The number of samples that has a weight of 1, on one replica. Any
                number gives the same; the usual one loses no precision.
        """
        if not self.weighs:
            self.weighs = True
            self._unit = unit
            self._micro_batch = threading.local()  # every replica has a thread
            # Outermost, to count what `fit` delivers.
            note = _noting_samples(self._micro_batch)
            self._scope.link("train_step", note, outermost=True)

    def scale_loss(self, loss: Tensor) -> Tensor:
        samples = vars(self._micro_batch).pop("samples", None) if self.weighs else None
        if samples is not None and self.accumulates:
            if not self.built:
                self.build(self._scope.model.trainable_variables)
            weight = tf.cast(samples, "float32") / self._unit
            # Alone in its update it has no weight.
            is_alone = tf.logical_and(
                tf.equal(self._state.micro_steps.value, 0),
                self.accumulation_steps.value <= 1,
            )
            weight = tf.where(is_alone, 1.0, weight)
            self._micro_batch.weight = weight
            loss = loss * tf.cast(weight, loss.dtype)
        return super().scale_loss(loss)

    def _weight(self) -> Tensor:
        weight = vars(self._micro_batch).pop("weight", None)
        return tf.ones(()) if weight is None else weight

    def begin(self) -> None:
        """Builds everything, once all owners have joined.

        A model that is not built yet, since nobody gave it an input shape, is built in
        its first step, and the pipeline then too.
        """
        model = self._scope.model
        if model.built and not self.built:
            with model.distribute_strategy.scope():
                self.build(model.trainable_variables)

    def build(self, variables: Sequence[Variable]) -> None:
        model = self._scope.model
        self.unit_axes = unit_axes(model)
        super().build(variables)

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        # Keras calls this after the last epoch and before `on_train_end` of anybody:
        # what is left is applied before weights are restored, averaged or written.
        self.flush()
        super().finalize_variable_values(var_list)

    # A file that is saved meanwhile holds the state of the wrapped optimizer where it
    # would be without the pipeline. (Its config is what `compile` was given.)

    def save_own_variables(self, store: Any) -> None:
        self.optimizer.save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        self.optimizer.load_own_variables(store)


def _noting_samples(note: threading.local) -> Link:
    """Makes `train_step` note how many samples it is given."""

    def link(step: Callable[..., Any]) -> Callable[..., Any]:
        def train_step(data: Any, *args: Any, **kwargs: Any) -> Any:
            x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
            inputs = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
            note.samples = tf.shape(inputs[0])[0] if inputs else None
            return step(data, *args, **kwargs)

        return train_step

    return link
