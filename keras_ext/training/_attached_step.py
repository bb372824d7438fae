"""What objectives put around the methods that Keras's step calls."""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import keras
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._linked_method import Method
from keras_ext._anatomy._silent_pass import silent_pass
from keras_ext._anatomy._trial import called
from keras_ext._core._checks import require
from keras_ext._core._paths import unique_path
from keras_ext._core._typing import Data, Record, Tensor, Variable
from keras_ext._fit._fit_scope import FitScope
from keras_ext._keras import _replica
from keras_ext._live._find_hyper_variables import HUNG
from keras_ext.training._perturbed_weights import PerturbedWeights

_OF_LOSS = ("x", "y", "y_pred", "sample_weight")


class AttachedStep:
    """Runs the hooks of all objectives of a `fit`, around the step of the model itself.

    Around `train_step` it changes the batch, asks for a perturbation of the weights and
    tells that the step is done; around `compute_loss` it adds losses; around `call` and
    `compute_loss` it lets the model see the perturbed weights. The step, also one of
    the user's own, is not copied: the optimizer with whatever is put on it, loss
    scaling, metrics and sample weights work as ever.

    Args:
        scope: The scope of the `fit`.
    """

    def __init__(self, scope: FitScope) -> None:
        self._scope = scope
        self._objectives: list[Any] = []
        self._hung: dict[str, Any] = {}
        # Of each replica, which has a thread of its own.
        self._of_thread = threading.local()
        scope.link("train_step", self._around_train_step)
        scope.link("compute_loss", self._around_compute_loss)
        scope.link("call", self._around_call)
        # Past Keras's attribute tracking.
        object.__setattr__(scope.model, HUNG, self._hung)
        scope.on_close(lambda: object.__delattr__(scope.model, HUNG))

    @classmethod
    def of(cls, scope: FitScope) -> Self:
        """The one of the scope, made if need be."""
        if "objectives" not in scope.shared:
            scope.shared["objectives"] = cls(scope)
        return scope.shared["objectives"]

    def add(self, objective: Any) -> None:
        """Appends an objective."""
        self._objectives.append(objective)
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(objective).__name__).lower()
        self._hung[unique_path(name, self._hung)] = objective

    # What a training that goes on needs of it: the objectives remember themselves.

    def get_state(self) -> Record:
        """Nothing."""
        return {}

    def set_state(self, state: Record) -> None:
        """Goes on with nothing."""

    @property
    def _perturbed(self) -> PerturbedWeights | None:
        return getattr(self._of_thread, "perturbed", None)

    @contextmanager
    def _step(self) -> Iterator[None]:
        """The time of a step on this replica."""
        self._of_thread.is_step, self._of_thread.has_loss = True, False
        try:
            yield
        finally:
            self._of_thread.is_step, self._of_thread.perturbed = False, None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The time of a pass that no objective has a part in, on this replica."""
        was_step = getattr(self._of_thread, "is_step", False)
        self._of_thread.is_step = False
        try:
            yield
        finally:
            self._of_thread.is_step = was_step

    def _around_train_step(self, step: Method) -> Method:
        def train_step(data: Data) -> Record:
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            with self._step():
                self._build_model(x)
                for objective in self._objectives:
                    x, y, sample_weight = objective.transform_batch(x, y, sample_weight)
                batch = x, y, sample_weight
                deltas = self._deltas(*batch)
                self._of_thread.has_loss = False
                perturbed = PerturbedWeights(self._scope.model, deltas)
                if deltas:
                    self._of_thread.perturbed = perturbed
                result = step(keras.utils.pack_x_y_sample_weight(*batch))
                self._require_used(step, bool(deltas) and not perturbed.was_called)
            for objective in self._objectives:
                objective.after_step(*batch)
            return result

        return train_step

    def _build_model(self, x: Data) -> None:
        """Makes the weights of a model that its first batch builds.

        Objectives ask for them before the step of the model calls it.
        """
        if not self._scope.model.built:
            with self.aside(), silent_pass(self._scope.model):
                called(self._scope.model, x, training=False)

    def _deltas(
        self, x: Data, y: Data, sample_weight: Data
    ) -> Sequence[tuple[Variable, Tensor]]:
        found = [
            (objective, deltas)
            for objective in self._objectives
            if (deltas := list(objective.perturb_weights(x, y, sample_weight)))
        ]
        names = [type(objective).__name__ for objective, _ in found]
        rule = "with one at most that perturbs the weights"
        require(len(found) <= 1, "callbacks", names, rule)
        return found[0][1] if found else []

    def _require_used(self, step: Method, was_passed_by: bool) -> None:
        """Raises while the step is traced if it goes past what is around its parts."""
        used = self._of_thread.has_loss and not was_passed_by
        require(
            used,
            "model.train_step",
            step,
            "one that calls model(...) and model.compute_loss(...)",
            hint="The objectives in `callbacks` come to nothing in this model.",
        )

    def _around_call(self, call: Method) -> Method:
        def perturbed_call(*args: object, **kwargs: object) -> Data:
            if self._perturbed is None:
                return call(*args, **kwargs)
            with self._perturbed(is_forward=True):
                return call(*args, **kwargs)

        return perturbed_call

    def _around_compute_loss(self, compute_loss: Method) -> Method:
        def compute_losses(*args: object, **kwargs: object) -> Tensor:
            # Not by `training`, which a `compute_loss` of the user's may not take.
            if not getattr(self._of_thread, "is_step", False):
                return compute_loss(*args, **kwargs)
            self._of_thread.has_loss = True
            if self._perturbed is None:
                loss = compute_loss(*args, **kwargs)
            else:
                # Also the penalties of weights are those of the perturbed ones.
                with self._perturbed(is_forward=False):
                    loss = compute_loss(*args, **kwargs)
            # The penalties of activations are read by now: the model may be called.
            # Keras may pass `training` as a fifth one.
            given = dict(zip(_OF_LOSS, args, strict=False)) | kwargs
            return self._with_extra(loss, *(given.get(name) for name in _OF_LOSS))

        return compute_losses

    def _with_extra(self, loss: Tensor, *of_loss: Data) -> Tensor:
        # As Keras does: what the replicas have is summed.
        replicas = _replica.num_replicas()
        for objective in self._objectives:
            extra = objective.extra_loss(*of_loss, tf.stop_gradient(loss * replicas))
            if extra is not None:
                loss = loss + ops.cast(extra, loss.dtype) / replicas
        return loss
