"""A step whose forward pass sees other weights than those that it moves."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from keras_ext._anatomy._silent_pass import silent_scope
from keras_ext._core._typing import Tensor, Variable


class PerturbedWeights:
    """Lets a model be called, and its loss computed, as if its weights were others.

    No weight is ever assigned: there is nothing to take back, and other replicas see
    nothing. The gradient with respect to a weight is that at the perturbed one. All
    else is as in any step: statistics, seeds and metrics are written.

    Args:
        model: The model.
        deltas: What is added to which trainable variables.
    """

    def __init__(
        self, model: keras.Model, deltas: Sequence[tuple[Variable, Tensor]]
    ) -> None:
        self._model = model
        known = {id(variable): delta for variable, delta in deltas}
        # Here, outside of `call`: there, Keras may give them in half precision.
        self._weights = [
            (v, v.value, known.get(id(v))) for v in model.trainable_variables
        ]
        self._scope: Any = None
        self._is_entered = False
        # Whether the forward pass has gone through it.
        self.was_called = False

    @contextmanager
    def __call__(self, *, is_forward: bool) -> Iterator[None]:
        """The time in which the weights are perturbed; within the tape of the step."""
        self.was_called = self.was_called or is_forward
        if self._is_entered:
            yield
            return
        if self._scope is None:
            self._scope = silent_scope(
                [(v, x if d is None else x + d) for v, x, d in self._weights]
            )
        before = len(self._scope.losses)
        self._is_entered = True
        try:
            with self._scope:
                yield
        finally:
            self._is_entered = False
        self._write()
        if is_forward:
            # Penalties of activations, which would be lost with the scope. A functional
            # model refuses them if they come through its own `add_loss`.
            keras.Layer.add_loss(self._model, self._scope.losses[before:])

    def _write(self) -> None:
        """Writes what the model has written, apart from weights."""
        written = self._scope.state_mapping
        variables = [
            *self._model.non_trainable_variables,
            *self._model.metrics_variables,
        ]
        for variable in {id(v): v for v in variables}.values():
            if id(variable) in written:
                variable.assign(written.pop(id(variable)))
