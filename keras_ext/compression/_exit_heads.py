"""The heads of models that are done early, and the models between them."""

from collections.abc import Callable

import keras

from keras_ext._core._checks import require
from keras_ext._core._typing import Function, Tensor

# By how many axes there are, those of rows and channels included.
_MEANS = {
    3: keras.layers.GlobalAveragePooling1D,
    4: keras.layers.GlobalAveragePooling2D,
    5: keras.layers.GlobalAveragePooling3D,
}


class _OfFunction(keras.losses.Loss):
    """A loss from a function of rows."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(name="loss_of_exit")
        self._function = function

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self._function(y_true, y_pred)


def as_loss(loss: str | Function) -> keras.losses.Loss:
    found = keras.losses.get(loss)
    # Only a `Loss` takes weights of rows, and averages over them.
    return found if isinstance(found, keras.losses.Loss) else _OfFunction(found)


def head_of(cut: Tensor, name: str, classes: int, end: str) -> keras.Model:
    inputs = keras.Input(cut.shape[1:], dtype=cut.dtype)
    x = inputs
    if len(cut.shape) > 2:
        x = _MEANS[len(cut.shape)](name=f"{name}_mean")(x)
    activation = end or "linear"
    # In float32 also under a mixed policy, as Keras advises for outputs.
    dense = keras.layers.Dense(
        classes, activation=activation, dtype="float32", name=f"{name}_classes"
    )
    return keras.Model(inputs, dense(x), name=f"{name}_head")


def inputs_of(model: keras.Model) -> Tensor | list[Tensor]:
    return model.inputs if len(model.inputs) > 1 else model.inputs[0]


def stages_of(
    model: keras.Model, names: list[str], cuts: list[Tensor], outputs: list[Tensor]
) -> list[keras.Model]:
    """Models from one cut to the next."""
    stages = []
    begins = [inputs_of(model), *cuts]
    ends = [*([c, o] for c, o in zip(cuts, outputs, strict=True)), model.outputs[0]]
    for i, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        try:
            stages.append(keras.Model(begin, end, name=f"stage_{i}"))
        except ValueError:
            rule = f"layers through which all passes; what follows {names[i - 1]!r} "
            rule += "also takes what comes before it, or is not after it"
            require(False, "layers", names, rule)
    return stages
