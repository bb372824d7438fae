"""An operator, and the weights that it is applied to."""

from collections.abc import Callable, Mapping, Sequence

from keras import ops

from keras_ext._anatomy._unit_axes import Axes, axes_by_identity
from keras_ext._core._checks import require
from keras_ext._core._pattern import check_pattern, is_selected, require_some
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext.optimizers.operators._operator import Operator

# Weights that a penalty is meant for: no biases, and no scales of normalization.
KERNELS = "kernel|embeddings"


class AppliedOperator:
    """Applies an operator to some weights of a model.

    Args:
        operator: The operator.
        include: Which weights are meant.
        exclude: Which are not.
        unit_axes: See `keras_ext.optimizers.unit_axes`.
    """

    def __init__(
        self,
        operator: Operator,
        include: Pattern,
        exclude: Pattern,
        unit_axes: Mapping[str, Axes] | None,
    ) -> None:
        rule = "one of keras_ext.optimizers.operators"
        require(isinstance(operator, Operator), "operator", operator, rule)
        check_pattern("include", include)
        check_pattern("exclude", exclude)
        require(
            unit_axes is None or isinstance(unit_axes, Mapping),
            "unit_axes",
            unit_axes,
            "a dictionary from weight paths to axes, or None",
            hint="keras_ext.optimizers.unit_axes(model) makes it.",
        )
        self._operator = operator
        self._include = include
        self._exclude = exclude
        self._unit_axes = dict(unit_axes or {})
        self.weights: list[Variable] = []
        self._axes: dict[int, Axes] = {}

    def build(self, variables: Sequence[Variable]) -> list[Variable]:
        """Chooses the weights; returns the variables of the operator."""
        pattern = self._include, self._exclude
        self.weights = [v for v in variables if is_selected(v, *pattern)]
        paths = [v.path for v in variables]
        require_some(self.weights, *pattern, what="weight", paths=paths)
        for v in self.weights:
            self._operator.check(v)
        self._axes = axes_by_identity(self.weights, self._unit_axes)
        return list(self._operator.build_hyper_variables())

    def __call__(
        self,
        values: Sequence[Tensor],
        variables: Sequence[Variable],
        step_of: Callable[[Variable], Tensor],
    ) -> list[Tensor]:
        """The new values of some of the weights."""
        return [
            # Steps come in float32; weights may be wider.
            self._operator(x, ops.cast(step_of(v), x.dtype), self._axes[id(v)])
            for x, v in zip(values, variables, strict=True)
        ]

    def get_config(self, serialize: Callable[[object], object]) -> Config:
        """The arguments."""
        return {
            "operator": serialize(self._operator),
            "include": self._include,
            "exclude": self._exclude,
            "unit_axes": {path: list(a) for path, a in self._unit_axes.items()},
        }
