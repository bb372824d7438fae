"""The base of every gradient transform."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import keras

from keras_ext._anatomy._unit_axes import Axes, axes_by_identity
from keras_ext._core._pattern import check_pattern, is_selected
from keras_ext._core._typing import Pattern, Tensor, Variable
from keras_ext._keras._replica import local_variable
from keras_ext._live._live_attributes import LiveAttributes


class GradientTransform(LiveAttributes):
    """Changes gradients between the reduction over replicas and the optimizer.

    `GradientPipeline` hands a transform the gradient of the whole global batch:
    unscaled, accumulated, summed over the replicas and finite. It is called once per
    update and per device, inside the compiled step, so it may only use `keras.ops`
    and the variables that it made in `build`.

    To write one, override `transform`, and `build` if it needs state, which
    `add_state` makes. Hyperparameters that are `HyperVariable`s in attributes are
    found, built and saved by the pipeline.

    Two more hooks are for rules that are none about the gradient: `admits` may reject
    an update as a whole, and `update_factor` may scale what the optimizer did to a
    weight, its weight decay included.

    Args:
        include: Which variables are transformed: a regular expression that is
            searched in `variable.path`, a list of them, or a function from variable
            to bool. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If `include` or `exclude` is neither of these.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> @keras.saving.register_keras_serializable("my_package")
        ... class SignOnly(kx.gradients.GradientTransform):
        ...     def transform(self, gradients, variables):
        ...         return [keras.ops.sign(g) for g in gradients]
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(0.1), [SignOnly(exclude="bias")]
        ... )
        >>> kernel = keras.Variable([1.0, 1.0], name="kernel")
        >>> optimizer.apply([keras.ops.array([0.02, -7.0])], [kernel])
        >>> print(kernel.numpy().round(2))
        [0.9 1.1]
    """

    # Tells `hyper_variables` to look inside.
    holds_hyper_variables: ClassVar[bool] = True

    def __init__(self, *, include: Pattern = None, exclude: Pattern = None) -> None:
        check_pattern("include", include)
        check_pattern("exclude", exclude)
        self.include = include
        self.exclude = exclude
        self.state: list[Variable] = []
        self._axes: dict[int, Axes] = {}

    @property
    def name(self) -> str:
        """The name in the paths of its hyperparameters, such as `adaptive_clip`."""
        # Before a capital that begins a word: `ClipUpdateRMS` has three words.
        starts = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
        return re.sub(starts, "_", type(self).__name__).lower()

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        """Creates the state; `unit_axes` is as `keras_ext.optimizers.unit_axes`."""
        self._axes = axes_by_identity(variables, unit_axes)
        self.state = list(self.build_hyper_variables())

    def add_state(
        self, shape: Sequence[int], name: str, initial: Any = 0, dtype: str = "float32"
    ) -> Variable:
        """Creates a variable in `build`, of zeros if nothing else is said; it is saved.

        Every replica has its own, and they stay the same, since all see the same
        gradients: so writing it communicates nothing.
        """
        variable = local_variable(shape, dtype, name, "only_first_replica", initial)
        self.state.append(variable)
        return variable

    def axes(self, variable: Variable) -> Axes:
        """The axes that a norm per output unit is taken over."""
        return self._axes[id(variable)]

    def __call__(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> list[Tensor]:
        chosen = [
            i
            for i, variable in enumerate(variables)
            if is_selected(variable, self.include, self.exclude)
        ]
        result = list(gradients)
        transformed = self.transform(
            [gradients[i] for i in chosen], [variables[i] for i in chosen]
        )
        for i, gradient in zip(chosen, transformed, strict=True):
            result[i] = gradient
        return result

    def transform(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        """Returns the new gradients of the chosen variables, in the same order."""
        if self.scales_updates or self.rejects_updates:
            return gradients
        raise NotImplementedError(
            f"{type(self).__name__} must override transform(gradients, variables)."
        )

    # Whether `update_factor` is to be called.
    scales_updates: ClassVar[bool] = False

    def update_factor(
        self, variable: Variable, move: Tensor, learning_rate: Tensor
    ) -> Tensor:
        """Returns the number, or numbers, that the update of a weight is scaled by.

        Called after the optimizer, for the chosen variables, if `scales_updates`.

        Args:
            variable: The weight, after the update.
            move: By how much the optimizer changed it, with its weight decay.
            learning_rate: The learning rate of the update.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must override update_factor(...)."
        )

    # Whether `admits` is to be called.
    rejects_updates: ClassVar[bool] = False

    def admits(
        self, squared_norms: Tensor, variables: Sequence[Variable], finite: Tensor
    ) -> Tensor:
        """Returns whether the update is to be made, a scalar of bool.

        Called before `transform`, once for all replicas, if `rejects_updates`. A
        rejected update changes nothing: not the weights, not the optimizer.

        Args:
            squared_norms: The squared norms of the gradients of `variables`, a vector.
            variables: All weights that have a gradient.
            finite: Whether all the gradients are finite; the update is made only then.
        """
        raise NotImplementedError(f"{type(self).__name__} must override admits(...).")

    def check(self) -> None:
        """Raises if training should not go on; called on the host now and then.

        The callbacks of this library call it every 50 batches and after each epoch.
        """

    def get_config(self) -> dict[str, Any]:
        return {"include": self.include, "exclude": self.exclude}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        for name in ("include", "exclude"):
            if isinstance(config.get(name), dict):
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)
