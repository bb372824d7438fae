"""Layers that compute in float32, whatever their policy."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from keras_ext._anatomy._sublayers import sublayers
from keras_ext._core._typing import Layer


@contextmanager
def in_float32(model: keras.Model) -> Iterator[None]:
    """Lets layers of other float policies compute in float32, in what is traced within.

    Args:
        model: The model. Its weights stay as they are and are cast where they are used.
    """
    found = [(layer, _policy(layer)) for layer in sublayers(model)]
    others = [(x, p) for x, p in found if p.compute_dtype in _OTHER_FLOATS]
    for layer, policy in others:
        layer.dtype_policy = _InFloat32(policy.variable_dtype)
    try:
        yield
    finally:
        for layer, policy in others:
            layer.dtype_policy = policy


class _InFloat32(keras.dtype_policies.DTypePolicy):
    """Computes in float32 with weights of another type, which are cast."""

    def __init__(self, variable_dtype: str) -> None:
        super().__init__("float32")
        self._own = variable_dtype

    @property
    def variable_dtype(self) -> str:
        return self._own


_OTHER_FLOATS = ("float16", "bfloat16", "float64")


def _policy(layer: Layer) -> keras.dtype_policies.DTypePolicy:
    policy = layer.dtype_policy
    # A map has one for each path, and setting one writes into it.
    is_map = isinstance(policy, keras.dtype_policies.DTypePolicyMap)
    return policy[layer.path] if is_map else policy
