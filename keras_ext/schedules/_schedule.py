"""The base of the schedules."""

import inspect
from typing import Any, Self

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_ext._core._checks import integer, is_number, require
from keras_ext._core._described import Described
from keras_ext._core._typing import Config, Figure, Tensor
from keras_ext.schedules._curves import draw


class Schedule(Described, LearningRateSchedule):
    """A learning rate as a function of the number of updates made so far.

    Derive from it to write a schedule of your own: store the arguments under their own
    names and override `value`, from operations that work element by element. It can
    then be drawn, and is saved with the optimizer if it is registered with
    `keras.saving.register_keras_serializable`.

    The optimizer asks for the value with its `iterations`, which begin with 0. These
    are updates also in `keras_ext.optimizers.GradientPipeline`, which may accumulate
    several batches for one. With the `gradient_accumulation_steps` of Keras's own
    optimizers they are batches: multiply all numbers of steps by it there.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> @keras.saving.register_keras_serializable("my_package")
        ... class Sawtooth(kx.schedules.Schedule):
        ...     def __init__(self, learning_rate, period):
        ...         self.learning_rate = learning_rate
        ...         self.period = period
        ...
        ...     def value(self, step):
        ...         return self.learning_rate * (1 - step % self.period / self.period)
        >>> schedule = Sawtooth(1.0, period=4)
        >>> [float(schedule(step)) for step in range(6)]
        [1.0, 0.75, 0.5, 0.25, 1.0, 0.75]
        >>> optimizer = keras.optimizers.SGD(schedule)
        >>> copied = keras.optimizers.SGD.from_config(optimizer.get_config())
        >>> float(copied.learning_rate)
        1.0
    """

    def value(self, step: Tensor) -> Tensor:
        """Returns the learning rate.

        Args:
            step: The number of updates made so far, float32, a scalar or of any shape.
        """
        raise NotImplementedError(f"{type(self).__name__} must override value(step).")

    def __call__(self, step: Tensor) -> Tensor:
        step = ops.convert_to_tensor(step)
        return ops.cast(self.value(ops.cast(step, "float32")), "float32")

    def plot(self, steps: int) -> Figure:
        """Draws the schedule.

        Args:
            steps: Integer >= 2, how many updates to show.

        Returns:
            A figure of Matplotlib.
        """
        return draw({"": self}, integer(steps, "steps", low=2))

    def get_config(self) -> Config:
        return {
            name: keras.saving.serialize_keras_object(getattr(self, name))
            for name in inspect.signature(type(self)).parameters
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        made = keras.saving.deserialize_keras_object
        return cls(**{name: made(value) for name, value in config.items()})


def schedule_or_number(value: Any, name: str) -> Any:
    """Returns a schedule, or a learning rate that stays; raises if it is neither."""
    if isinstance(value, LearningRateSchedule):
        return value
    hint = "A schedule is a keras.optimizers.schedules.LearningRateSchedule."
    is_rate = is_number(value) and value >= 0
    require(is_rate, name, value, "a number >= 0 or a schedule", hint)
    return float(value)


def value_at(schedule: LearningRateSchedule | float, step: Tensor) -> Tensor:
    """The learning rate of a schedule, or of a number, at a step."""
    if isinstance(schedule, LearningRateSchedule):
        return ops.cast(schedule(step), "float32")
    return schedule + ops.zeros_like(step)
