"""Recurrent cells of Keras."""

from collections.abc import Iterator

from keras import ops

from keras_ext._core._typing import Layer, Tensor
from keras_ext._keras._dropout_internals import CREATE_MASK
from keras_ext._live._dropout_kernel import live_dropout
from keras_ext._live._hyperparameter import (
    RATE,
    Hyperparameter,
    attribute,
    let_stand_in,
)


def of_cell(cell: Layer, path: str) -> Iterator[Hyperparameter]:
    """The rates for the inputs and for the state."""
    if not hasattr(cell, "get_dropout_mask"):
        return

    def prepare() -> None:
        def create(step_input: Tensor, rate: float) -> Tensor | list[Tensor]:
            def mask() -> Tensor:
                ones = ops.ones_like(step_input)
                rate_now = ops.convert_to_tensor(rate, dtype="float32")
                shape = ops.shape(ones)
                return live_dropout(ones, rate_now, shape, cell.seed_generator)

            count = getattr(cell, "dropout_mask_count", None)
            return mask() if count is None else [mask() for _ in range(count)]

        let_stand_in(cell, CREATE_MASK, create)

    yield attribute(cell, "dropout", path, RATE, prepare)
    # Keras chooses the kernel by whether there is any: 0 has to stay 0.
    if getattr(cell, "recurrent_dropout", 0) > 0:
        yield attribute(cell, "recurrent_dropout", path, RATE, prepare)
