"""A learning rate that is multiplied while training, whatever it comes from."""

from typing import ClassVar

import keras
from keras import ops

from keras_ext._core._typing import Optimizer, Tensor
from keras_ext._keras._learning_rate import READ, own_learning_rate
from keras_ext._keras._optimizer_family import updates_so_far
from keras_ext._live._hyper_variable import HyperVariable


class LearningRateGain:
    """Multiplies the learning rate of one optimizer until it is released.

    A learning rate that is a number is multiplied where it is kept, so that callbacks
    which multiply it as well, such as `ReduceLROnPlateau`, go on working; one that
    overwrites it has to allow for the gain itself. A schedule is read at a number of
    updates that can run faster than those of the optimizer, since one update on a
    large batch stands for several on small ones.

    Args:
        optimizer: The optimizer that steps.
    """

    remembered: ClassVar[tuple[str, ...]] = ("gain", "_numbers", "_since")

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._own = own_learning_rate(optimizer)
        self._is_number = isinstance(self._own, keras.Variable)
        self.gain = 1.0
        self._numbers = [
            HyperVariable(value, name)
            for name, value in (("gain", 1.0), ("pace", 1.0), ("position", 0.0))
        ]
        made = updates_so_far(optimizer)
        self._since = HyperVariable(made, "since", dtype="int32")
        self._numbers[2].assign(made)
        if not self._is_number:
            for number in (*self._numbers, self._since):
                number.build()
            object.__setattr__(optimizer, READ, self._multiplied)

    def _multiplied(self) -> Tensor:
        """The schedule at the position that stands for the iterations made."""
        iterations = self._optimizer.iterations
        gain, pace, position = (number.value for number in self._numbers)
        done = ops.cast(iterations.value, "int32") - self._since.value
        place = ops.floor(position + pace * ops.cast(done, "float32") + 1e-3)
        own = self._own
        if isinstance(own, keras.optimizers.schedules.LearningRateSchedule):
            rate = own(ops.cast(place, iterations.dtype))
        else:
            rate = own() if callable(own) else own
        return gain * ops.cast(rate, "float32")

    def own_rate(self) -> float:
        """The learning rate that there would be now without the gain."""
        return float(ops.convert_to_numpy(self._optimizer.learning_rate)) / self.gain

    def assign(self, gain: float, pace: float = 1.0) -> None:
        """Sets what the learning rate is multiplied by.

        Args:
            gain: Number > 0.
            pace: By how much the position in a schedule advances per update, from now
                on.
        """
        if self._is_number:
            rate = self.own_rate()
            self.gain = gain
            self._optimizer.learning_rate.assign(rate * gain)
            return
        live_gain, live_pace, position = self._numbers
        now = updates_so_far(self._optimizer)
        moved = float(live_pace) * (now - int(self._since))
        position.assign(float(position) + moved)
        self._since.assign(now)
        live_pace.assign(pace)
        live_gain.assign(gain)
        self.gain = gain

    def release(self) -> None:
        """Leaves the optimizer with its own learning rate."""
        if self._is_number:
            self.assign(1.0)
        elif READ in vars(self._optimizer):
            object.__delattr__(self._optimizer, READ)
