"""A pipeline that callbacks put around the optimizer of a model for one `fit`."""

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from keras_ext.core._checks import require
from keras_ext.core._hyper_variable import HyperVariable
from keras_ext.core._replaced_method import replace_method
from keras_ext.core._typing import Tensor, Variable
from keras_ext.core._unit_axes import unit_axes
from keras_ext.gradients._gradient_transform import GradientTransform
from keras_ext.gradients._skip_non_finite import SkipNonFinite
from keras_ext.optimizers._fail_if_unused import fail_if_unused
from keras_ext.optimizers._gradient_pipeline import GradientPipeline
from keras_ext.optimizers._local_updates import LocalUpdates
from keras_ext.signals._gradient_signal import GradientSignal


class AttachedPipeline(GradientPipeline):
    """Wraps the optimizer of a model until the last owner lets go.

    Several callbacks share one: each joins in `set_model`, adds its parts, and leaves
    at the end of training. It is built when training begins, with the parts of all.
    To everyone who saves the model meanwhile it is the optimizer that it wraps.

    Args:
        model: The compiled model.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(model.optimizer)
        # Weakly, so that who saves the optimizer does not come back to the model.
        self._model: Any = weakref.ref(model)
        self._owners: list[Any] = []
        self._forbids_nonfinite = False
        self._restore_step = fail_if_unused(model, self)
        self._undo: list[Callable[[], None]] = []

    @classmethod
    def join(cls, model: keras.Model, owner: Any) -> Self:
        """Returns the pipeline around the optimizer of `model`, made if need be."""
        require(
            isinstance(getattr(model, "optimizer", None), keras.optimizers.Optimizer),
            "model.optimizer",
            getattr(model, "optimizer", None),
            "a Keras optimizer",
            hint="Call model.compile(optimizer=...) before fit.",
        )
        present = model.optimizer
        if isinstance(present, LocalUpdates):
            present.require_left_behind(owner)
            present = model.optimizer
        # In one `fit`, all join before the pipeline is built. One that is built, or
        # that has this owner, was left behind by a `fit` that was interrupted.
        if isinstance(present, cls) and (present.built or owner in present._owners):
            present.detach()
        if not isinstance(model.optimizer, cls):
            with model.distribute_strategy.scope():
                model.optimizer = cls(model)
            # Makes `fit` trace the step anew, with the pipeline in it.
            model.train_function = None
        model.optimizer._owners.append(owner)
        return model.optimizer

    def add_transform(self, transform: GradientTransform) -> None:
        """Appends a transform."""
        if isinstance(transform, SkipNonFinite):
            # Its owners look often enough, and an error in the step would end the
            # training without giving the model its optimizer back.
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
            1, "accumulation_steps", (1, most), "log", "int32"
        )
        return self.accumulation_steps

    def when_detached(self, undo: Callable[[], None]) -> None:
        """Calls `undo` when the model gets its optimizer back, for whatever reason."""
        self._undo.append(undo)

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
            self.when_detached(_note_samples(self._model(), self._micro_batch))

    def scale_loss(self, loss: Tensor) -> Tensor:
        samples = vars(self._micro_batch).pop("samples", None) if self.weighs else None
        if samples is not None and self.accumulates:
            if not self.built:
                self.build(self._model().trainable_variables)
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
        model = self._model()
        if model.built and not self.built:
            with model.distribute_strategy.scope():
                self.build(model.trainable_variables)

    def build(self, variables: Sequence[Variable]) -> None:
        model = self._model()
        self.unit_axes = unit_axes(model)
        super().build(variables)

    def leave(self, owner: Any) -> None:
        """Detaches the pipeline when the last owner leaves."""
        if owner in self._owners:
            self._owners.remove(owner)
        if not self._owners:
            self.flush()
            self.detach()

    def detach(self) -> None:
        """Gives the model the optimizer back that it was compiled with."""
        model = self._model()
        self._owners.clear()
        if model.optimizer is self:
            model.optimizer = self.optimizer
            model.train_function = None
            while self._undo:
                self._undo.pop()()
            self._restore_step()

    # A file that is saved meanwhile holds the state of the wrapped optimizer where it
    # would be without the pipeline. (Its config is what `compile` was given.)

    def save_own_variables(self, store: Any) -> None:
        self.optimizer.save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        self.optimizer.load_own_variables(store)


def _note_samples(model: keras.Model, note: threading.local) -> Callable[[], None]:
    """Makes `train_step` note how many samples it is given. Returns what undoes it."""
    step = model.train_step

    def train_step(data: Any, *args: Any, **kwargs: Any) -> Any:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        inputs = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
        note.samples = tf.shape(inputs[0])[0] if inputs else None
        return step(data, *args, **kwargs)

    return replace_method(model, "train_step", train_step)
