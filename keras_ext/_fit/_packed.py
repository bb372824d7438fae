"""Plain data and arrays as bytes, and back, without running anything of them."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_ext._core._typing import Data, Record

_TEXT = "text"


def packed(data: Data) -> bytes:
    """Plain data and arrays as bytes.

    Args:
        data: Numbers, texts, None, lists, arrays, and dictionaries of them whose keys
            are texts, numbers or tuples of these.

    Examples:
        >>> import numpy as np
        >>> from keras_ext._fit._packed import packed, unpacked
        >>> unpacked(packed({("a", 1): [np.arange(2), None, float("inf")]}))
        {('a', 1): [array([0, 1]), None, inf]}
    """
    arrays: list[np.ndarray] = []
    text = json.dumps(_tagged(data, arrays))
    buffer = io.BytesIO()
    named: Record = {str(i): array for i, array in enumerate(arrays)}
    named[_TEXT] = np.frombuffer(text.encode(), "uint8")
    np.savez(buffer, **named)
    return buffer.getvalue()


def unpacked(content: bytes) -> Data:
    """What `packed` was given."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        data = json.loads(stored[_TEXT].tobytes())
        return _untagged(data, stored)


def _tagged(data: Data, arrays: list[np.ndarray]) -> Any:
    """The same as JSON can write it."""
    if isinstance(data, np.ndarray):
        # A type of its own, such as bfloat16, would need pickle.
        plain = data if data.dtype.kind in "biufcSU" else data.astype("float32")
        arrays.append(plain)
        return {"array": len(arrays) - 1}
    if isinstance(data, dict):
        items = [[_tagged(k, arrays), _tagged(v, arrays)] for k, v in data.items()]
        return {"items": items}
    if isinstance(data, tuple):
        return {"tuple": [_tagged(x, arrays) for x in data]}
    if isinstance(data, list):
        return [_tagged(x, arrays) for x in data]
    return data.item() if isinstance(data, np.generic) else data


def _untagged(data: Data, arrays: Mapping[str, np.ndarray]) -> Data:
    if isinstance(data, list):
        return [_untagged(x, arrays) for x in data]
    if not isinstance(data, dict):
        return data
    ((kind, content),) = data.items()
    if kind == "array":
        return arrays[str(content)]
    if kind == "tuple":
        return tuple(_untagged(x, arrays) for x in content)
    return {_untagged(k, arrays): _untagged(v, arrays) for k, v in content}
