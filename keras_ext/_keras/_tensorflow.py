"""Private modules of TensorFlow, by name: importing them costs nothing until then."""

import importlib
from typing import Any


def eager_execute() -> Any:
    """The module whose `record_gradient` notes operations for gradients."""
    return importlib.import_module("tensorflow.python.eager.execute")


def own_record_gradient() -> Any:
    """The function `record_gradient` where TensorFlow defines it."""
    return importlib.import_module("tensorflow.python.eager.backprop").record_gradient


def registered_gradients() -> dict[str, dict[str, Any]]:
    """The gradients of operations, by their names."""
    ops = importlib.import_module("tensorflow.python.framework.ops")
    return ops.gradient_registry._registry
