"""Private modules of TensorFlow, by name: importing them costs nothing until then."""

import importlib
from typing import Any

from keras_ext._core._typing import Function, Record


def eager_execute() -> Any:
    """The module whose `record_gradient` notes operations for gradients."""
    return importlib.import_module("tensorflow.python.eager.execute")


def own_record_gradient() -> Function:
    """The function `record_gradient` where TensorFlow defines it."""
    return importlib.import_module("tensorflow.python.eager.backprop").record_gradient


def registered_gradients() -> dict[str, Record]:
    """The gradients of operations, by their names."""
    ops = importlib.import_module("tensorflow.python.framework.ops")
    return ops.gradient_registry._registry
