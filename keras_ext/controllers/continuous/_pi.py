"""Proportional-integral control."""

from keras_ext._core._checks import is_number, number
from keras_ext._core._described import Described


class PI(Described):
    """Says by how much to move a knob so that a measurement reaches its target.

    This is the velocity form of a proportional-integral controller: it returns
    *changes*, `proportional * (error - last error) + integral * error`, where the error
    is `measurement - target`. So nothing winds up while the knob is at its bound, and
    it can be started from any position of the knob. Within the dead band the integral
    part rests, so that noise does not make the knob wander.

    A positive change means "more" of a knob that lowers the measurement.

    Args:
        target: Number, the measurement to reach.
        proportional: Number >= 0, the gain on the change of the error.
            Defaults to `2.0`.
        integral: Number >= 0, the gain on the error. Defaults to `1.0`.
        dead_band: Number >= 0; errors below it are ignored by the integral part.
            Defaults to `0.02`.
        max_step: Number > 0, the largest change at once. Defaults to `0.5`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> controller = kx.controllers.PI(target=0.1)
        >>> round(controller.update(0.2), 3)  # 1 * 0.1, no earlier error yet
        0.1
        >>> round(controller.update(0.25), 3)  # 2 * 0.05 + 1 * 0.15
        0.25
    """

    def __init__(
        self,
        target: float,
        *,
        proportional: float = 2.0,
        integral: float = 1.0,
        dead_band: float = 0.02,
        max_step: float = 0.5,
    ) -> None:
        self.target = number(target, "target")
        self.proportional = number(proportional, "proportional", low=0)
        self.integral = number(integral, "integral", low=0)
        self.dead_band = number(dead_band, "dead_band", low=0)
        self.max_step = number(max_step, "max_step", above=0)
        self._last_error: float | None = None

    def update(self, measurement: float) -> float:
        """Takes in a measurement and returns the change of the knob.

        Args:
            measurement: The present value; if it is not finite, the change is 0 and
                the value is forgotten.

        Returns:
            A number in [-max_step, max_step].
        """
        if not is_number(measurement):
            return 0.0
        error = measurement - self.target
        last = error if self._last_error is None else self._last_error
        self._last_error = error
        # The incremental form: it keeps no sum of errors that could wind up while the
        # knob is at its bound.
        change = self.proportional * (error - last)
        if abs(error) >= self.dead_band:
            change += self.integral * error
        return float(min(max(change, -self.max_step), self.max_step))
