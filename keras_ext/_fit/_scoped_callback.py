"""Callbacks that put something on the model while it trains."""

import keras

from keras_ext._core._typing import Logs
from keras_ext._fit._copyable_callback import CopyableCallback
from keras_ext._fit._fit_scope import FitScope
from keras_ext._live._compiled_arguments import CompiledArguments


class ScopedCallback(CompiledArguments, CopyableCallback):
    """A callback that puts things on the model for one `fit`, through its `FitScope`.

    A subclass overrides `attach`, and calls these hooks if it overrides them. It lists
    in `compiled` which arguments it hands over there, and does not look at again.
    """

    compiled = frozenset()
    way_out = "Set it before `fit`."

    @property
    def is_compiled_in(self) -> bool:
        scope = vars(self).get("fit_scope")
        return scope is not None and scope.has(self)

    def attach(self, scope: FitScope) -> None:
        """Puts on the model what this callback needs."""
        raise NotImplementedError(f"{type(self).__name__} must override attach().")

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        with FitScope.joining(model, self) as scope:
            self.fit_scope = scope
            self.attach(scope)

    def on_train_begin(self, logs: Logs = None) -> None:
        self.fit_scope.begin()

    def on_train_end(self, logs: Logs = None) -> None:
        self.fit_scope.leave(self)
