"""TensorFlow as it was, after explainers of shap that change it have failed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras_ext._core._typing import Function
from keras_ext._keras._tensorflow import (
    eager_execute,
    own_record_gradient,
    registered_gradients,
)


@contextmanager
def safe_shap() -> Iterator[None]:
    """Restores TensorFlow when `shap.DeepExplainer` or another one has failed.

    `shap.DeepExplainer` replaces parts of TensorFlow while it computes. When it fails,
    as it does with most models that have recurrence, attention or a leaky ReLU, they
    stay replaced, and whatever takes gradients next, such as `fit`, ends with
    `LookupError: gradient registry has no entry for: shap_...`. Within this context
    everything is put back; entered afterwards, it repairs what is broken already.

    The explainers of this library do not need it: they change nothing.

    Raises:
        AttributeError: If this version of TensorFlow has not got what shap replaces.

    Examples:
        >>> import keras_ext as kx
        >>> try:
        ...     with kx.explain.safe_shap():
        ...         raise LookupError("gradient registry has no entry")
        ... except LookupError:
        ...     print("failed, and cleaned up")
        failed, and cleaned up
    """
    before = _State()
    try:
        yield
    finally:
        before.restore()


class _State:
    """What shap replaces; if it is replaced already, what was there first."""

    def __init__(self) -> None:
        # There are no public names for what shap changes.
        self._execute = eager_execute()
        self._record_gradient = self._execute.record_gradient
        if _is_of_shap(self._record_gradient):
            self._record_gradient = own_record_gradient()
        self._registered = registered_gradients()
        self._gradients = {
            name: {**entry, "type": _own_gradient(name, entry["type"])}
            for name, entry in self._registered.items()
            if not name.startswith("shap_")
        }

    def restore(self) -> None:
        self._execute.record_gradient = self._record_gradient
        # What others have registered meanwhile may stay.
        for name in [name for name in self._registered if name.startswith("shap_")]:
            del self._registered[name]
        for name, entry in self._gradients.items():
            self._registered[name] = {**entry}


def _is_of_shap(function: object) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] == "shap"


def _own_gradient(name: str, gradient: Any) -> Function | None:
    """The gradient that TensorFlow had registered; the explainer has kept it."""
    if not _is_of_shap(gradient):
        return gradient
    return gradient.__self__.orig_grads[name]
