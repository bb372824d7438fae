"""A learning rate for every layer."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras

from keras_ext._anatomy._depth import layers_by_depth
from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import is_number, number, require
from keras_ext._core._pattern import check_pattern, matches
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._update_scale import UpdateScale
from keras_ext._live._hyper_variable import HyperVariable


@keras.saving.register_keras_serializable(package="keras_ext")
class LayerwiseScale(UpdateScale):
    """Scales the learning rate layer by layer (discriminative learning rates).

    Each weight moves by its factor times what the optimizer would have done, weight
    decay included, as if it had its own learning rate. It works with any optimizer,
    even with Adam, for which a scaled gradient makes no difference. Use it to fine-tune
    a pretrained model: the layers near the input, which hold the most general features,
    get the smallest factors. A factor of 0 stops a weight; see also `Freeze`.

    `LayerwiseScale.by_depth(model, decay)` gives the last layer the factor 1 and every
    layer before it `decay` times that of the one behind it. It cannot be combined with
    the `use_ema` of the optimizer.

    Args:
        factors: Dictionary from a regular expression, that is searched in
            `variable.path`, to a number >= 0. The first that fits counts. The numbers
            become `HyperVariable`s, in the attribute `factors`, in their order.
        default: Number >= 0, the factor where none fits. A `HyperVariable`.
            Defaults to `1.0`.
        include: Which variables are scaled: a regular expression that is searched in
            `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is not of this form, or, when it is built, if a
            pattern is for no weight the first that fits.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> slower = kx.gradients.LayerwiseScale({"encoder/": 0.1})
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.Adam(1.0), [slower]
        ... )
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((1,)),
        ...         keras.layers.Dense(1, "relu", use_bias=False, name="encoder"),
        ...         keras.layers.Dense(1, use_bias=False, name="head"),
        ...     ]
        ... )
        >>> before = model.get_weights()
        >>> gradient = keras.ops.ones((1, 1))
        >>> optimizer.apply([gradient, gradient], model.trainable_variables)
        >>> [round((a - b).item(), 3) for a, b in zip(before, model.get_weights())]
        [0.1, 1.0]

    References:
        - [Howard and Ruder, 2018](https://arxiv.org/abs/1801.06146): by depth, with
          `decay=1 / 2.6`
        - [Clark et al., 2020](https://arxiv.org/abs/2003.10555): by depth, with
          `decay=0.8` or `0.9`
    """

    def __init__(
        self,
        factors: Mapping[str, float],
        *,
        default: float = 1.0,
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        expected = "a dictionary from regular expressions to numbers >= 0"
        require(
            isinstance(factors, Mapping)
            and all(isinstance(key, str) for key in factors)
            and all(is_number(x) and x >= 0 for x in factors.values()),
            "factors",
            factors,
            expected,
        )
        check_pattern("factors", list(factors))
        self.patterns = list(factors)
        self.factors = [
            _factor(value, f"factor_{i}") for i, value in enumerate(factors.values())
        ]
        self.default = _factor(number(default, "default", low=0), "default")

    @classmethod
    def by_depth(
        cls, layers: keras.Model | Sequence[str], decay: float = 0.8, **options: Any
    ) -> Self:
        """Makes factors that fall with the distance from the output.

        Args:
            layers: A built model, whose layers are taken in their order: models inside
                it are opened, and layers without a kernel, such as normalizations, go
                with the one before. Or, to say yourself what a layer is, patterns, from
                the input to the output, such as
                `["embedding", "block_0", "block_1", "head"]`.
            decay: Number > 0, the ratio of a factor to the next one.
                Defaults to `0.8`.
            **options: Further arguments of the class.

        Returns:
            The transform. The last layer has the factor 1.
        """
        decay = number(decay, "decay", above=0)
        if isinstance(layers, keras.Model):
            patterns = [_pattern(group) for group in layers_by_depth(layers)]
        else:
            patterns = list(layers)
        last = len(patterns) - 1
        factors = {p: decay ** (last - i) for i, p in enumerate(patterns)}
        return cls(factors, **options)

    @property
    def hyper_variables(self) -> list[HyperVariable]:
        return [*self.factors, self.default]

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        super().build(variables, unit_axes)
        self._first_fit = {id(v): self._fit(v) for v in variables}
        used = set(self._first_fit.values())
        paths = {v.path for v in variables}
        idle = [
            p
            for i, p in enumerate(self.patterns)
            # Weights with the same path cannot be told apart.
            if i not in used and len(paths) == len(variables)
        ]
        require(
            not idle,
            "factors",
            self.patterns,
            "patterns that are each the first to fit some weight",
            hint=f"{idle} are not, among {[v.path for v in variables]}.",
        )

    def _fit(self, variable: Variable) -> int | None:
        """The place of the first pattern that fits."""
        fits = (i for i, p in enumerate(self.patterns) if matches(p, variable))
        return next(fits, None)

    def factor(self, variable: Variable, move: Tensor, learning_rate: Tensor) -> Tensor:
        fit = self._first_fit[id(variable)]
        return (self.default if fit is None else self.factors[fit]).value

    def get_config(self) -> Config:
        values = map(float, self.factors)
        return {
            **super().get_config(),
            "factors": dict(zip(self.patterns, values, strict=True)),
            "default": float(self.default),
        }


def _factor(value: float, name: str) -> HyperVariable:
    return HyperVariable(value, name, bounds=(0.0, None), scale="log")


def _pattern(layers: Sequence[keras.Layer]) -> str:
    """A pattern that fits the weights of these layers and no others."""
    paths = [
        _path_pattern(layer, v) for layer in layers for v in layer.trainable_weights
    ]
    return f"^(?:{'|'.join(paths)})$"


def _path_pattern(layer: keras.Layer, variable: Variable) -> str:
    # Keras drops the names of `Sequential` models from the paths when it loads a file.
    outer = layer.path.split("/")[:-1]
    above = "".join(f"{name}/" for name in outer)
    if not variable.path.startswith(above):
        return re.escape(variable.path)
    optional = ""
    for name in outer:
        # One within the other, since only the outermost names can be missing.
        optional = f"(?:{optional}{re.escape(name)}/)?"
    return optional + re.escape(variable.path.removeprefix(above))
