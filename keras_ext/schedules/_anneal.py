"""The forms in which a learning rate goes from one value to another."""

import math
from collections.abc import Callable

from keras import ops

from keras_ext._core._typing import Tensor


def _cosine(left: Tensor) -> Tensor:
    # (1 + cos(pi * done)) / 2, without the cancellation towards the end.
    return ops.square(ops.sin(0.5 * math.pi * left))


def _linear(left: Tensor) -> Tensor:
    return left


def _one_minus_root(left: Tensor) -> Tensor:
    return 1.0 - ops.sqrt(1.0 - left)


# From the share of the way that is left, to the weight of where it began.
FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "cos": _cosine,
    "linear": _linear,
    "1-sqrt": _one_minus_root,
}


def anneal(
    step: Tensor,
    begin: float,
    end: float,
    rates: tuple[float | Tensor, float | Tensor],
    form: str,
) -> Tensor:
    """Returns the value on the way from one to another, and the ends outside of it.

    Args:
        step: Where to look.
        begin: The step that has the first value.
        end: The step that has the second; if it is not later, everything has it.
        rates: The two values.
        form: One of `FORMS`.
    """
    first, last = rates
    if end <= begin:
        return last + ops.zeros_like(step)
    left = ops.clip((end - step) / (end - begin), 0.0, 1.0)
    return last + (first - last) * FORMS[form](left)
