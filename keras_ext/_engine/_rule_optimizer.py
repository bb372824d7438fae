"""The base of optimizers that are a rule: what changes a weight, and what it keeps."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypedDict, Unpack

import keras
import tensorflow as tf
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_ext._core._checks import number, require, takes
from keras_ext._core._described import Described
from keras_ext._core._dtypes import wide_dtype
from keras_ext._core._typing import Config, Shape, Tensor, Variable
from keras_ext._keras import _replica
from keras_ext._keras._optimizer_slots import decays
from keras_ext._keras._whole_update import WholeUpdate
from keras_ext._live._compiled_arguments import CompiledArguments

LearningRate: TypeAlias = float | LearningRateSchedule | Callable[[], float | Tensor]


class OptimizerOptions(TypedDict, total=False):
    """What every optimizer of Keras takes, under the names that Keras gives it."""

    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None
    name: str | None


class Slot(NamedTuple):
    """What a rule keeps of a weight.

    Attributes:
        shape: Its shape; None for that of the weight.
        initial: The number it is filled with, or a function from the variable to a
            tensor of the shape.
    """

    shape: Shape | None = None
    initial: float | Callable[[Variable], Tensor] = 0.0


@dataclass
class Part:
    """One weight in an update; tensors of the type that the optimizer computes in.

    A rule puts into `slots` and `value` what is to be kept.

    Attributes:
        variable: The weight.
        gradient: Its gradient.
        value: Its value, that it had until now.
        slots: What is kept of it, by name.
        decay: The weight decay, or None if this weight is excluded from it.
        direction: For what a `MeasuredRule` computes before it knows the factor.
        factor: What a `MeasuredRule` decided for this weight.
    """

    variable: Variable
    gradient: Tensor
    value: Tensor
    slots: dict[str, Tensor]
    decay: float | None
    direction: Tensor = None
    factor: Tensor = None

    def average(self, slot: str, value: Tensor, beta: float | Tensor) -> Tensor:
        """Moves an average towards a value, by the share `1 - beta`; returns it."""
        old = self.slots[slot]
        self.slots[slot] = old + (value - old) * (1 - beta)
        return self.slots[slot]


@dataclass
class Now:
    """The present update.

    Attributes:
        step: Its number, from 1, in float64.
        rate: The learning rate. `coefficients` may put in its place what the rule
            makes of it, by which weight decay is multiplied then.
        numbers: What is kept of the whole model, by name. A rule puts into it what
            is to be kept.
    """

    step: Tensor
    rate: Tensor
    numbers: dict[str, Tensor] = field(default_factory=dict)

    def weight_of_averages(self, beta: float | Tensor) -> Tensor:
        """The weights in an average that began at zero: what to divide it by."""
        return ops.cast(self.exact_weight_of_averages(beta), self.rate.dtype)

    def exact_weight_of_averages(self, beta: float | Tensor) -> Tensor:
        """The same in float64: of 1 - 0.999, float32 leaves four digits."""
        beta = ops.convert_to_tensor(beta, dtype="float64")
        return 1 - ops.power(beta, self.step)


class RuleOptimizer(CompiledArguments, Described, WholeUpdate):
    """An optimizer that is a rule: what changes a weight, and what is kept of it.

    A subclass says in `slots` what it keeps of each weight, in `coefficients` what it
    computes once in an update, and in `change` what is taken off a weight. Here are
    the loop, the types and the writing. What is computed and kept is float32 (float64
    for weights of that type), also for weights in half precision. All arguments of
    the constructor are in `get_config`, under their names.

    Args:
        learning_rate: A number >= 0, a schedule, or a function without arguments.
        weight_decay: Number >= 0, or None for none.
        options: See `OptimizerOptions`.
    """

    way_out = (
        "Make a new optimizer. What keras_ext.make_live lists of this one can change."
    )

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(learning_rate=_checked_rate(learning_rate), **options)
        self.weight_decay = number(weight_decay, "weight_decay", low=0, optional=True)

    # What a rule is.

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        """What is kept of a weight, by name."""
        return {}

    def numbers(self) -> Mapping[str, float | Callable[[Sequence[Variable]], Tensor]]:
        """What is kept of the whole model, by name: first values, or what gives them.

        A function is called with the list of weights.
        """
        return {}

    def coefficients(self, now: Now) -> Any:
        """What `change` needs that is the same for all weights."""
        return now

    def change(self, part: Part, given: Any) -> Tensor:
        """What is taken off a weight; puts into `part.slots` what is to be kept.

        Args:
            part: The weight.
            given: What `coefficients` returned.
        """
        raise NotImplementedError

    def rule(self, parts: Sequence[Part], now: Now) -> None:
        """Makes an update: puts new values into the parts, and numbers into `now`."""
        given = self.coefficients(now)
        for part in parts:
            part.value = self.moved(part, self.change(part, given), now)

    def moved(self, part: Part, change: Tensor, now: Now) -> Tensor:
        """The new value: Keras multiplies weight decay by the learning rate."""
        if part.decay is None:
            return part.value - change
        return part.value * (1 - now.rate * part.decay) - change

    # What all have in common.

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        wide = any(wide_dtype(v.dtype) == "float64" for v in variables)
        self._state = _State("float64" if wide else "float32")
        for variable in variables:
            own = not getattr(variable, "overwrite_with_gradient", False)
            slots = self.slots(variable) if own else {}
            self._state.slots.append(
                {name: self._add(variable, name, slot) for name, slot in slots.items()}
            )
        for name, initial in self.numbers().items():
            self._state.numbers[name] = self.add_variable(
                shape=(),
                initializer=_initializer(initial, list(variables)),
                dtype=self._state.dtype,
                name=name,
            )

    def _add(self, variable: Variable, name: str, slot: Slot) -> Variable:
        return self.add_variable(
            shape=variable.shape if slot.shape is None else slot.shape,
            initializer=_initializer(slot.initial, variable),
            dtype=self._state.dtype,
            name=f"{variable.path.replace('/', '_')}_{name}",
        )

    def update(
        self,
        gradients: Sequence[Tensor],
        variables: Sequence[Variable],
        learning_rate: Tensor,
    ) -> None:
        dtype, held = self._state.dtype, self._state.numbers
        now = Now(
            ops.cast(self.iterations, "float64") + 1,
            ops.cast(learning_rate, dtype),
            {name: _read(v) for name, v in held.items()},
        )
        parts = [
            self._part(g, v, dtype) for g, v in zip(gradients, variables, strict=True)
        ]
        self.rule(parts, now)
        written = [(held[name], now.numbers[name]) for name in held]
        for part in parts:
            value = ops.cast(part.value, part.variable.dtype)
            written.append((part.variable, value))
            slots = self.slots_of(part.variable)
            written += [(slots[name], part.slots[name]) for name in slots]
        _replica.assign([v for v, _ in written], [x for _, x in written])

    def _part(self, gradient: Tensor, variable: Variable, dtype: str) -> Part:
        slots = self.slots_of(variable)
        return Part(
            variable,
            ops.cast(gradient, dtype),
            ops.cast(_read(variable), dtype),
            {name: _read(slot) for name, slot in slots.items()},
            self.weight_decay if decays(self, variable) else None,
        )

    def slots_of(self, variable: Variable) -> dict[str, Variable]:
        """The variables that are kept of a weight, by name."""
        return self._state.slots[self.index_of(variable)]

    def number_of(self, name: str) -> Variable:
        """A variable that is kept of the whole model, by name."""
        require(self.built, name, None, "asked for when the optimizer is built")
        return self._state.numbers[name]

    def get_config(self) -> Config:
        parameters = inspect.signature(type(self).__init__).parameters.values()
        names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD][1:]
        config = super().get_config()
        own = {n: _plain(getattr(self, n)) for n in names if n not in config}
        return {**own, **config}


@dataclass(eq=False)
class _State:
    """What `build` makes. Keras does not look into it, so it tracks nothing twice."""

    dtype: str
    slots: list[dict[str, Variable]] = field(default_factory=list)
    numbers: dict[str, Variable] = field(default_factory=dict)


def _read(variable: Variable) -> Tensor:
    """The value that a variable has now, on this replica."""
    return tf.convert_to_tensor(_replica.native(variable))


def _initializer(
    first: float | Callable[[Variable], Tensor], of: Variable
) -> keras.initializers.Initializer | Callable[..., Tensor]:
    """What Keras makes a variable with, from a number or from a function of weights."""
    if not callable(first):
        return keras.initializers.Constant(first)
    return lambda shape, dtype=None: ops.cast(first(of), dtype)


def _plain(value: Any) -> Any:
    """A value without what Keras puts around lists and dictionaries to watch them."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [*map(_plain, value)] if isinstance(value, list | tuple) else value


def _checked_rate(value: LearningRate) -> Any:
    if isinstance(value, LearningRateSchedule) or takes(value, 0):
        return value
    try:
        return float(number(value, "learning_rate", low=0))
    except ValueError:
        expected = "a number >= 0, a LearningRateSchedule or a function"
        require(False, "learning_rate", value, expected)
