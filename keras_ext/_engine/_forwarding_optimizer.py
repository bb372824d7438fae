"""An optimizer that is another one to everyone outside."""

import warnings
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_ext._core._checks import require
from keras_ext._core._typing import Config, Function, Optimizer, Tensor, Variable
from keras_ext._keras._optimizer_family import optimizer_family, sole_innermost
from keras_ext._keras._optimizer_slots import built_variables
from keras_ext._live._compiled_arguments import CompiledArguments, compiled_arguments
from keras_ext._live._live_attributes import LiveAttributes

# What outsiders read from an optimizer, and find on the wrapped one.
_FORWARDED = (
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
)


class ForwardingOptimizer(
    CompiledArguments, LiveAttributes, keras.optimizers.Optimizer
):
    """Wraps an optimizer and answers for it.

    The learning rate, the iterations, weight decay, exponential averages and whatever
    else is asked of it are the wrapped one's. A subclass overrides `apply`, and lists
    its own variables in `own_variables`.

    Args:
        optimizer: The optimizer to wrap, also a `LossScaleOptimizer`.
        name: Name of the optimizer. None means the name of the class.
    """

    # The attribute that is being assigned to.
    _being_set: str | None = None

    def __init__(self, optimizer: Optimizer, name: str | None = None) -> None:
        super().__init__(learning_rate=0.0, name=name)
        self.optimizer = optimizer
        # A LossScaleOptimizer *around* this one scales the loss without asking here,
        # and hands over gradients that are unscaled: set when it is asked.
        self.loss_is_scaled = False
        self._is_building = False

    @property
    def scaler(self) -> keras.optimizers.LossScaleOptimizer | None:
        """The wrapped `LossScaleOptimizer`, or None."""
        scales = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        return self.optimizer if scales else None

    @property
    def inner_optimizer(self) -> Optimizer:
        """The optimizer that steps: the wrapped one without its loss scaling.

        `SwapEMAWeights` looks for it by this name, that of `LossScaleOptimizer`.
        """
        return self.scaler.inner_optimizer if self.scaler else self.optimizer

    @property
    def learning_rate(self) -> Variable | Tensor:
        return self.optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(
        self, learning_rate: float | Variable | LearningRateSchedule | Function
    ) -> None:
        self.optimizer.learning_rate = learning_rate

    @property
    def iterations(self) -> Variable:
        return self.optimizer.iterations

    @property
    def own_variables(self) -> list[Variable]:
        """The variables of this optimizer without those of the wrapped one."""
        return []

    @property
    def variables(self) -> list[Variable]:
        return [*self.own_variables, *self.optimizer.variables]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        for variable, weight in zip(self.variables, weights, strict=True):
            variable.assign(weight)

    def build(self, variables: Sequence[Variable]) -> None:
        if not self.optimizer.built:
            self.optimizer.build(variables)
        # The averages are the wrapped one's: Keras would make a second set, which
        # `SwapEMAWeights` would find and nobody update.
        self._is_building = True
        super().build(variables)
        self._is_building = False

    def pairs(
        self, grads: Sequence[Tensor], trainable_variables: Sequence[Variable] | None
    ) -> list[tuple[Tensor, Variable]]:
        """The gradients that there are, each with its weight; builds if need be.

        Raises:
            ValueError: If there are weights, and no gradient of any.
        """
        if trainable_variables is None:
            trainable_variables = built_variables(self)
        if not self.built:
            self.build(list(trainable_variables))
        pairs = zip(grads, trainable_variables, strict=True)
        found = [(g, v) for g, v in pairs if g is not None]
        require(
            bool(found) or not len(grads),
            "grads",
            grads,
            "gradients, at least one of them not None",
            hint="Does the loss depend on the trainable weights?",
        )
        return found

    def scale_loss(self, loss: Tensor) -> Tensor:
        self.loss_is_scaled = True
        # A LossScaleOptimizer does not pass on what it is shown.
        for member in optimizer_family(self.scaler) if self.scaler else ():
            if hasattr(type(member), "see_loss"):
                member.see_loss(loss)
        return self.optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        self.optimizer.finalize_variable_values(var_list)

    def exclude_from_weight_decay(self, *args: object, **kwargs: object) -> None:
        self.inner_optimizer.exclude_from_weight_decay(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # Only called for what is not found here, such as `momentum`. Before the last
        # line of `__init__` it would give away the wrapped one's own bookkeeping.
        own = vars(self)
        if name.startswith("__") or "loss_is_scaled" not in own:
            raise AttributeError(name)
        if name == own.get("_being_set"):
            raise AttributeError(name)
        return getattr(self.inner_optimizer, name)

    def __setattr__(self, name: str, value: object) -> None:
        if self._is_inside(name):
            setattr(self.inner_optimizer, name, value)
            return
        # TensorFlow leaves out what an attribute has already, and would find it in the
        # wrapped optimizer: two wrappers with the same None would then share what
        # replaces it.
        self.__dict__["_being_set"] = name
        try:
            super().__setattr__(name, value)
        finally:
            self.__dict__.pop("_being_set", None)

    def _is_inside(self, name: str) -> bool:
        """Whether an attribute is found here only because the wrapped one has it."""
        kind: type = type(self)
        if (
            "loss_is_scaled" not in vars(self)
            or name.startswith("_")
            or name in vars(self)
            or hasattr(kind, name)
            # What a subclass is about to set in `__init__`.
            or name in compiled_arguments(kind)
        ):
            return False
        # Of others that wrap, nothing: parts of several wrappers have the same names.
        stepping = sole_innermost(self.inner_optimizer)
        return stepping is not None and name in vars(stepping)

    # Keras finds and saves the wrapped optimizer as an attribute.

    def save_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        for i, variable in enumerate(self.own_variables):
            store[str(i)] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        if len(store.keys()) != len(self.own_variables):
            # As Keras does, so that the rest of the model loads.
            warnings.warn(
                f"Skipping the {len(store.keys())} variables that were saved for "
                f"{self.name}, because it has {len(self.own_variables)}. Was it saved "
                "with other arguments, or before it was built?",
                stacklevel=2,
            )
            return
        for i, variable in enumerate(self.own_variables):
            variable.assign(store[str(i)])


def _forwarded(name: str) -> property:
    def read(self: ForwardingOptimizer) -> Any:
        if name == "use_ema" and self._is_building:
            return False
        # A LossScaleOptimizer has attributes of the same names that mean nothing.
        return getattr(self.inner_optimizer, name)

    def write(self: ForwardingOptimizer, value: object) -> None:
        # The base class sets them at construction, when there is nobody to ask.
        if "loss_is_scaled" in vars(self):
            setattr(self.inner_optimizer, name, value)

    return property(read, write)


for _name in _FORWARDED:
    setattr(ForwardingOptimizer, _name, _forwarded(_name))


def checked_optimizer(given: Optimizer | str | Config) -> Optimizer:
    """An optimizer of Keras, from itself, its name or its config.

    Raises:
        ValueError: If it is none, or accumulates gradients in Keras's way, which sums
            over the replicas too late.
    """
    valid = isinstance(given, str | keras.optimizers.Optimizer)
    valid = valid or (isinstance(given, Mapping) and "class_name" in given)
    require(valid, "optimizer", given, "a Keras optimizer, its name or its config")
    optimizer = keras.optimizers.get(given)
    require(
        getattr(optimizer, "gradient_accumulation_steps", None) is None,
        "optimizer",
        optimizer,
        "without gradient_accumulation_steps",
        hint="Pass accumulation_steps to GradientPipeline instead.",
    )
    return optimizer


def is_overwritten(variable: Variable) -> bool:
    """Whether the gradient of a weight is its new value, as in float8 scales."""
    return bool(getattr(variable, "overwrite_with_gradient", False))
