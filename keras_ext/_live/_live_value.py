"""Python numbers that the compiled step reads from a device variable."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_ext._core._typing import Function, Tensor
from keras_ext._live._hyper_variable import HyperVariable


class LiveFloat(float):
    """The present value of a hyperparameter, and in a graph the variable that holds it.

    Put into an attribute in the place of a number, it is that number to everyone who
    prints, saves or compares it; but a step that is compiled with it in place reads
    the variable whenever it runs. A comparison with 0 in a graph, such as Keras's
    `if rate > 0`, must not be decided by the value of the moment: it comes out as if
    the value were positive.

    Args:
        live: The value to stand for, built.
    """

    # Keras asks for the dtype of what it computes with.
    dtype = "float32"
    live: "LiveValue"

    def __new__(cls, live: "LiveValue") -> "LiveFloat":
        self = super().__new__(cls, float(live))
        self.live = live
        return self

    def __tf_tensor__(
        self, dtype: tf.DType | None = None, name: str | None = None
    ) -> Tensor:
        value = tf.convert_to_tensor(self.live.value)
        return value if dtype is None else tf.cast(value, dtype)

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        # A copy is a number, with no tie to this model.
        return float, (float(self),)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return False if _is_zero(other) else float(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __gt__(self, other: float) -> bool:
        return True if _is_zero(other) else float(self) > other

    def __le__(self, other: float) -> bool:
        return not self > other

    __hash__ = float.__hash__


def assigned(present: object, value: object) -> bool:
    """Assigns to the live value in an attribute what would replace it there."""
    if not isinstance(present, LiveFloat) or isinstance(value, LiveFloat):
        return False
    present.live.assign(value)  # type: ignore[arg-type]
    return True


def _is_zero(other: object) -> bool:
    return isinstance(other, int | float) and float(other) == 0.0


def _in_graph(name: str) -> Function:
    """An operation of float: with tensors while a graph is made."""
    plain = getattr(float, name)

    def operate(self: LiveFloat, *args: Any) -> Any:
        if tf.executing_eagerly():
            return plain(self, *args)
        return getattr(tf.convert_to_tensor(self), name)(*args)

    return operate


for _operation in ("add", "sub", "mul", "truediv", "pow"):
    for _name in (f"__{_operation}__", f"__r{_operation}__"):
        setattr(LiveFloat, _name, _in_graph(_name))
LiveFloat.__neg__ = _in_graph("__neg__")  # type: ignore[method-assign]


class LiveValue(HyperVariable):
    """A hyperparameter of something that exists, which reads it from an attribute.

    Args:
        value: As in `HyperVariable`, as are `name`, `bounds`, `scale` and `dtype`.
        name: The name.
        bounds: The bounds.
        scale: The scale.
        dtype: The dtype.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Whether it is there for the time of a `fit`, and not for good.
        self.temporary = False
        self._places: list[Callable[[float], None]] = []
        self._computed: Callable[[], Tensor] | None = None

    @property
    def value(self) -> Tensor:
        return super().value if self._computed is None else self._computed()

    def follow(self, compute: Callable[[], Tensor] | None) -> None:
        """Lets a step that is compiled from now on compute the value it uses.

        What is assigned is then used only where nothing is compiled.

        Args:
            compute: Function that returns a tensor; None to read the variable again.
        """
        self._computed = compute

    def stand_in(self, place: Callable[[float], None]) -> None:
        """Calls `place` with the value, now and whenever it changes.

        Args:
            place: Function that puts a number where it is read from.
        """
        self._places.append(place)
        place(LiveFloat(self))

    def assign(self, value: float) -> None:
        super().assign(value)
        for place in self._places:
            place(LiveFloat(self))

    def release(self) -> None:
        """Leaves the present value in its places as a plain number."""
        for place in self._places:
            place(float(self))
        self._places = []
