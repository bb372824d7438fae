"""Hyperparameters that can change while the compiled step keeps running."""

import math
from typing import Any, Self

import keras
import numpy as np

from keras_ext._core._checks import choice, is_number, number, require
from keras_ext._core._typing import Tensor, Variable

# What float32 holds.
_LARGEST = float(np.finfo("float32").max)
_LARGEST_LOGARITHM = 88.0

SCALES = ("linear", "log", "logit")


class HyperVariable:
    """Holds one scalar hyperparameter on the device.

    Keras compiles hyperparameters into the training step as constants, so that
    changing them later has no effect. A `HyperVariable` is read by the step every
    time it runs: assign it from a callback, and the next step uses the new value,
    without a retrace, with `jit_compile=True`, and on all replicas.

    Until `build` is called it is plain Python, so that an object that holds one
    can be constructed anywhere and deep-copied. `build` creates the device
    variable under the distribution strategy that is in scope; layers and
    `GradientPipeline` call it for the HyperVariables they own, and save its value
    with their weights. `copy.deepcopy` always gives an unbuilt copy that holds the
    present value.

    Args:
        value: Finite number, the initial value. It has to lie within `bounds`.
        name: The name of the hyperparameter, the last part of its path.
        bounds: Pair `(low, high)`; values assigned later are clipped to it. None
            leaves a side open. Defaults to `(None, None)`.
        scale: The scale on which a controller moves the value: `"linear"`;
            `"log"` for strengths (the bounds must be >= 0); `"logit"` for rates
            and fractions (the bounds must be within [0, 1]).
            Defaults to `"linear"`.
        dtype: `"float32"`, or `"int32"` for counts. Defaults to `"float32"`.

    Raises:
        ValueError: If an argument is out of range, or the assigned value is not a
            finite number.

    Examples:
        >>> import keras_ext as kx
        >>> rate = kx.HyperVariable(0.1, "rate", bounds=(0.0, 0.9), scale="logit")
        >>> rate.assign(0.5)
        >>> float(rate)
        0.5
        >>> rate.assign(2.0)  # clipped
        >>> float(rate)
        0.9
    """

    def __init__(
        self,
        value: float,
        name: str,
        *,
        bounds: tuple[float | None, float | None] = (None, None),
        scale: str = "linear",
        dtype: str = "float32",
    ) -> None:
        require(isinstance(name, str) and name != "", "name", name, "a non-empty text")
        self.scale = choice(scale, "scale", SCALES)
        self.dtype = choice(dtype, "dtype", ("float32", "int32"))
        self.name = name
        self.bounds = _checked_bounds(bounds, scale)
        self._variable: Variable | None = None
        self._initial = self._checked(value, "value")
        inside = self._initial == self._clipped(self._initial)
        require(inside, name, value, f"within {self.bounds}")

    @property
    def built(self) -> bool:
        """Whether the device variable exists."""
        return self._variable is not None

    def build(self) -> Variable:
        """Creates the device variable, once, in the current strategy scope.

        Returns:
            The `keras.Variable`, for its owner to track.
        """
        if self._variable is None:
            self._variable = keras.Variable(
                # An initializer, since Keras may build its owner symbolically first.
                keras.initializers.Constant(self._initial),
                shape=(),
                dtype=self.dtype,
                trainable=False,
                # A rate rounded to float16 would not be the rate that was set.
                autocast=False,
                aggregation="only_first_replica",
                name=self.name,
            )
        return self._variable

    @property
    def variable(self) -> Variable:
        """The device variable, to be read inside a compiled step."""
        require(
            self.built,
            f"{self.name}.built",
            False,
            "True",
            hint="Build the layer or optimizer that owns it first.",
        )
        return self._variable

    @property
    def value(self) -> Tensor:
        """The value as a tensor (once built), or as a Python number before."""
        return self._initial if self._variable is None else self._variable.value

    def assign(self, value: float) -> None:
        """Sets the value, clipped to the bounds; the next step uses it.

        Args:
            value: A finite number.

        Raises:
            ValueError: If it is none, or another one than bounds that are equal allow.
        """
        value = self._checked(value)
        low, high = self.bounds
        fixed = low is not None and low == high
        require(not fixed or value == low, self.name, value, f"{low}: it is fixed")
        value = self._clipped(value)
        if self._variable is None:
            self._initial = value
        else:
            self._variable.assign(value)

    def to_scale(self) -> float:
        """Returns the value on its scale: as it is, its logarithm or its logit."""
        value = float(self)
        # At its very bounds the value of a log or logit scale has no image; the
        # nearest float32 does.
        tiny = 1e-7
        if self.scale == "log":
            return math.log(max(value, tiny))
        if self.scale == "logit":
            value = min(max(value, tiny), 1.0 - tiny)
            return math.log(value / (1.0 - value))
        return value

    def assign_on_scale(self, position: float) -> None:
        """Sets the value from a position on its scale, the inverse of `to_scale`.

        Args:
            position: A finite number, for example a logit.
        """
        require(is_number(position), "position", position, "a finite number")
        if self.scale == "log":
            position = math.exp(min(position, _LARGEST_LOGARITHM))
        elif self.scale == "logit":
            position = 0.5 * (1.0 + math.tanh(0.5 * position))
        self.assign(round(position) if self.dtype == "int32" else position)

    def _checked(self, value: Any, name: str | None = None) -> float:
        name = self.name if name is None else name
        is_scalar = keras.ops.is_tensor(value) and not len(value.shape)
        if isinstance(value, np.generic) or is_scalar:
            value = np.asarray(value).item()
        require(is_number(value), name, value, "a finite number")
        if self.dtype == "int32":
            require(value == int(value), name, value, "an integer")
            return int(value)
        return float(value)

    def _clipped(self, value: float) -> float:
        low, high = self.bounds
        if self.dtype == "float32":
            value = min(max(value, -_LARGEST), _LARGEST)
        if low is not None:
            value = max(value, low)
        if high is not None:
            value = min(value, high)
        return value

    def __float__(self) -> float:
        if self._variable is None:
            return float(self._initial)
        # The shortest decimal that is this float32: 0.1, not 0.10000000149.
        return float(str(np.float32(keras.ops.convert_to_numpy(self._variable))))

    def __int__(self) -> int:
        if self._variable is None:
            return int(self._initial)
        return int(keras.ops.convert_to_numpy(self._variable))

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        value = int(self) if self.dtype == "int32" else float(self)
        copied = type(self)(
            value, self.name, bounds=self.bounds, scale=self.scale, dtype=self.dtype
        )
        memo[id(self)] = copied
        return copied

    def __repr__(self) -> str:
        value = int(self) if self.dtype == "int32" else float(self)
        return (
            f"HyperVariable({value:g}, {self.name!r}, bounds={self.bounds}, "
            f"scale={self.scale!r})"
        )


def _checked_bounds(bounds: Any, scale: str) -> tuple[float | None, float | None]:
    valid = (
        isinstance(bounds, tuple | list)
        and len(bounds) == 2
        and all(bound is None or is_number(bound) for bound in bounds)
    )
    require(valid, "bounds", bounds, "a pair of numbers or None")
    low, high = bounds
    require(low is None or high is None or low <= high, "bounds", bounds, "(low, high)")
    if scale != "linear":
        expected = "with low >= 0" if scale == "log" else "within [0, 1]"
        inside = low is not None and low >= 0
        if scale == "logit":
            inside = inside and high is not None and high <= 1
        require(inside, "bounds", bounds, f"{expected} on the {scale} scale")
    return low, high


def live_factor(value: float, name: str, **limits: Any) -> HyperVariable:
    """Makes a live strength, factor or threshold: a number >= 0 on a log scale.

    Args:
        value: What the caller passed.
        name: The argument.
        **limits: Those of `number`, for the initial value. `low=0` if there are none.

    Raises:
        ValueError: If the value is no such number.
    """
    value = number(value, name, **(limits or {"low": 0}))
    return HyperVariable(value, name, bounds=(0.0, None), scale="log")
