"""An optimizer that is another one to everyone outside."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ext._core._typing import Optimizer, Tensor, Variable
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


class ForwardingOptimizer(LiveAttributes, keras.optimizers.Optimizer):
    """Wraps an optimizer and answers for it.

    The learning rate, the iterations, weight decay, exponential averages and whatever
    else is asked of it are the wrapped one's. A subclass overrides `apply`, and lists
    its own variables in `own_variables`.

    Args:
        optimizer: The optimizer to wrap, also a `LossScaleOptimizer`.
        name: Name of the optimizer. None means the name of the class.
    """

    def __init__(self, optimizer: Optimizer, name: str | None = None) -> None:
        super().__init__(learning_rate=0.0, name=name)
        self.optimizer = optimizer
        # A LossScaleOptimizer *around* this one scales the loss without asking here,
        # and hands over gradients that are unscaled: set when it is asked.
        self.loss_is_scaled = False

    @property
    def scaler(self) -> Any:
        """The wrapped `LossScaleOptimizer`, or None."""
        scales = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        return self.optimizer if scales else None

    @property
    def inner_optimizer(self) -> Any:
        """The optimizer that steps: the wrapped one without its loss scaling.

        `SwapEMAWeights` looks for it by this name, that of `LossScaleOptimizer`.
        """
        return self.scaler.inner_optimizer if self.scaler else self.optimizer

    @property
    def learning_rate(self) -> Any:
        return self.optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
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

    def set_weights(self, weights: Sequence[Any]) -> None:
        for variable, weight in zip(self.variables, weights, strict=True):
            variable.assign(weight)

    def build(self, variables: Sequence[Variable]) -> None:
        if not self.optimizer.built:
            self.optimizer.build(variables)
        super().build(variables)

    def scale_loss(self, loss: Tensor) -> Tensor:
        self.loss_is_scaled = True
        return self.optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        self.optimizer.finalize_variable_values(var_list)

    def exclude_from_weight_decay(self, *args: Any, **kwargs: Any) -> None:
        self.inner_optimizer.exclude_from_weight_decay(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # Only called for what is not found here, such as `momentum`. Before the last
        # line of `__init__` it would give away the wrapped one's own bookkeeping.
        if name.startswith("__") or "loss_is_scaled" not in vars(self):
            raise AttributeError(name)
        return getattr(self.inner_optimizer, name)

    # Keras finds and saves the wrapped optimizer as an attribute.

    def save_own_variables(self, store: Any) -> None:
        for i, variable in enumerate(self.own_variables):
            store[str(i)] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store: Any) -> None:
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
        # A LossScaleOptimizer has attributes of the same names that mean nothing.
        return getattr(self.inner_optimizer, name)

    def ignore(self: ForwardingOptimizer, value: Any) -> None:
        """The base class sets them at construction; they are the wrapped one's."""

    return property(read, ignore)


for _name in _FORWARDED:
    setattr(ForwardingOptimizer, _name, _forwarded(_name))
