"""Learning rates that go to and fro."""

from collections.abc import Callable

import keras
from keras import ops

from keras_ext._core._checks import choice, number, require, takes
from keras_ext._core._typing import Tensor
from keras_ext.schedules._schedule import Schedule

_POLICIES = ("triangular", "triangular2", "exp_range")


@keras.saving.register_keras_serializable(package="keras_ext")
class CyclicalLearningRate(Schedule):
    """Moves the learning rate back and forth between two values.

    It rises over `step_size` updates and falls over the same number. Use it if you do
    not know how long you will train, or to get out of poor minima: the author
    recommends a `step_size` of two to eight epochs, and to stop at the end of a cycle.
    The bounds can be read from `keras_ext.diagnostics.find_learning_rate`.

    `step_size`, `scale_fn`, `scale_mode` and `gamma`, and the two rates, are called as
    in TensorFlow Addons, whose values these are, and those of
    `torch.optim.lr_scheduler.CyclicLR`.

    Args:
        initial_learning_rate: Number >= 0, the lower bound.
        maximal_learning_rate: Number > 0, the upper bound, at first.
        step_size: Number > 0, the updates of half a cycle.
        scale_fn: What the height of a cycle above the lower bound is multiplied by:
            `"triangular"`: 1; `"triangular2"`: half as much in each cycle as in the one
            before; `"exp_range"`: `gamma` to the power of the number of updates; or a
            function, of the number of the cycle, from 1 on, or of updates.
            Defaults to `"triangular"`.
        scale_mode: `"cycle"` or `"iterations"`, what `scale_fn` is a function of. None
            means updates for `"exp_range"`, and cycles otherwise.
        gamma: Number > 0, for `"exp_range"`. Defaults to `1.0`.
        name: A name for it, which Keras's schedules have too, or None.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> schedule = kx.schedules.CyclicalLearningRate(
        ...     0.1, 0.5, step_size=2, scale_fn="triangular2"
        ... )
        >>> [round(float(schedule(step)), 2) for step in range(9)]
        [0.1, 0.3, 0.5, 0.3, 0.1, 0.2, 0.3, 0.2, 0.1]

    References:
        - [Smith, 2015](https://arxiv.org/abs/1506.01186)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        maximal_learning_rate: float,
        step_size: float,
        scale_fn: str | Callable[[Tensor], Tensor] = "triangular",
        *,
        scale_mode: str | None = None,
        gamma: float = 1.0,
        name: str | None = None,
    ) -> None:
        self.initial_learning_rate = number(
            initial_learning_rate, "initial_learning_rate", low=0
        )
        self.maximal_learning_rate = number(
            maximal_learning_rate, "maximal_learning_rate", above=0
        )
        self.step_size = number(step_size, "step_size", above=0)
        if isinstance(scale_fn, str):
            choice(scale_fn, "scale_fn", _POLICIES)
        else:
            expected = '"triangular", "triangular2", "exp_range" or a function'
            require(takes(scale_fn, 1), "scale_fn", scale_fn, expected)
        self.scale_fn = scale_fn
        self.scale_mode = choice(
            scale_mode, "scale_mode", ("cycle", "iterations"), optional=True
        )
        self.gamma = number(gamma, "gamma", above=0)
        valid = name is None or isinstance(name, str)
        require(valid, "name", name, "a text or None")
        self.name = name

    def value(self, step: Tensor) -> Tensor:
        cycle = ops.floor(1 + step / (2 * self.step_size))
        # 1 at both ends of a cycle, 0 in its middle.
        place = ops.abs(step / self.step_size - 2 * cycle + 1)
        height = self.maximal_learning_rate - self.initial_learning_rate
        mode = self.scale_mode
        if mode is None:
            mode = "iterations" if self.scale_fn == "exp_range" else "cycle"
        scale = self._scale(cycle if mode == "cycle" else step)
        return self.initial_learning_rate + height * ops.maximum(0.0, 1 - place) * scale

    def _scale(self, count: Tensor) -> Tensor:
        if self.scale_fn == "triangular":
            return ops.ones_like(count)
        if self.scale_fn == "triangular2":
            return ops.power(2.0, 1 - count)
        if callable(self.scale_fn):
            return ops.cast(self.scale_fn(count), "float32")
        return ops.power(self.gamma, count)
