"""What a controller is to those that ask it."""

from collections.abc import MutableMapping, MutableSet
from typing import Any, Protocol, runtime_checkable

from keras_ext._core._checks import is_number, require


@runtime_checkable
class Controller(Protocol):
    """Takes in one measurement after the other, and says what to do about it.

    Anything with such an `update` is a controller; nothing needs to be derived from
    this. The caller decides what is measured and what the answer means: see the
    callbacks that take a `controller`. They copy it before each `fit`, so that every
    training begins with a fresh one.

    Examples:
        >>> import keras_ext as kx
        >>> class UpWhileOverfitting:
        ...     def update(self, gap):
        ...         return 0.1 if gap > 0.2 else -0.1
        >>> isinstance(UpWhileOverfitting(), kx.controllers.Controller)
        True
        >>> adapt = kx.callbacks.AdaptiveDropout(controller=UpWhileOverfitting())
    """

    def update(self, measurement: Any, /) -> Any:
        """Takes in a measurement, and returns the answer to it.

        Args:
            measurement: What was measured last.

        Returns:
            What to do: in the callbacks, the change of what is moved, a number.
        """


def check_controller(value: Any) -> Controller | None:
    """Raises a `ValueError` unless `controller` is one, or None."""
    # A class has the method, too, but nothing to call it on; that of dictionaries and
    # sets is another one.
    no_controllers = (type, MutableMapping, MutableSet)
    valid = isinstance(value, Controller) and not isinstance(value, no_controllers)
    expected = "an object with a method update(measurement), or None"
    require(value is None or valid, "controller", value, expected)
    return value


def change_by(controller: Controller, measurement: float) -> float:
    """The change that a controller answers with.

    Raises:
        ValueError: If it is no finite number.
    """
    if not is_number(measurement):
        # What is not known asks for nothing.
        return 0.0
    answer = controller.update(measurement)
    name = f"{type(controller).__name__}.update({measurement:.4g})"
    hint = "It is the change of what the controller moves."
    require(is_number(answer), name, answer, "a finite number", hint)
    return float(answer)
