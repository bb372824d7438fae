"""Strengths by the depth of a layer."""

from collections.abc import Callable

import keras

from keras_ext._anatomy._depth import layers_by_depth
from keras_ext._anatomy._sublayers import layer_paths, weight_paths
from keras_ext._core._checks import choice, number, require
from keras_ext._core._described import Described
from keras_ext._core._pattern import check_pattern, is_selected
from keras_ext._core._typing import Pattern
from keras_ext.regularizers._attach import attach_to
from keras_ext.regularizers._l1_l2 import L2

RULES = ("linear", "geometric")


class DepthwiseStrengths(Described):
    """Regularizes each layer of a model with a strength that follows from its depth.

    One rule for the whole model replaces a number for every layer: stronger near the
    output, where features are specific to the training data, or near the input.

    Args:
        first: Number >= 0, the strength at the layer nearest to the input.
        last: Number >= 0, the strength at the layer nearest to the output. A model with
            one layer has this one.
        rule: `"linear"` for equal differences between layers, `"geometric"` for equal
            factors (both numbers must be > 0). Defaults to `"geometric"`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> layers = [keras.layers.Dense(2, name=name) for name in "abc"]
        >>> model = keras.Sequential([keras.Input((2,)), *layers], name="m")
        >>> schedule = kx.regularizers.DepthwiseStrengths(1e-4, 1e-2)
        >>> schedule.strengths(model)
        {'a': 0.0001, 'b': 0.001, 'c': 0.01}
        >>> list(schedule.attach(model))
        ['a', 'b', 'c']
        >>> layers[1].kernel_regularizer.get_config()
        {'l2': 0.001}
    """

    def __init__(self, first: float, last: float, *, rule: str = "geometric") -> None:
        self.rule = choice(rule, "rule", RULES)
        # Zero is no factor.
        above = 0 if self.rule == "geometric" else None
        self.first = number(first, "first", low=0, above=above)
        self.last = number(last, "last", low=0, above=above)

    def strengths(self, model: keras.Model) -> dict[str, float]:
        """Returns the strength for each layer, by its path.

        Args:
            model: A built model; its layers are ordered from input to output, and those
                without a kernel, such as normalizations, go with the layer before.

        Returns:
            A dictionary from path to strength.
        """
        paths = layer_paths(model)
        return {paths[layer]: strength for layer, strength in self._by_layer(model)}

    def attach(
        self,
        model: keras.Model,
        regularizer: Callable[[float], keras.Regularizer] = L2,
        *,
        include: Pattern = "kernel|embeddings",
        exclude: Pattern = None,
    ) -> dict[str, keras.Regularizer]:
        """Attaches to each layer a regularizer of its strength.

        Args:
            model: A built model.
            regularizer: Makes a regularizer of a strength, for example a class.
                Defaults to `keras_ext.regularizers.L2`.
            include: Which weights, as in `keras_ext.regularizers.attach`. Defaults to
                kernels and embeddings.
            exclude: Which are left out, in the same form. None means none.

        Returns:
            The regularizers, from the path of the layer.
        """
        check_pattern("include", include)
        check_pattern("exclude", exclude)
        require(callable(regularizer), "regularizer", regularizer, "a function")
        attached: dict[str, keras.Regularizer] = {}
        paths, of_weights = layer_paths(model), weight_paths(model)
        for layer, strength in self._by_layer(model):
            variables = layer.trainable_variables
            chosen = {
                id(v)
                for v in variables
                if is_selected(v, include, exclude, of_weights[id(v)])
            }
            if chosen:
                made = regularizer(strength)
                attach_to(model, chosen, made)
                attached[paths[layer]] = made
        return attached

    def _by_layer(self, model: keras.Model) -> list[tuple[keras.Layer, float]]:
        groups = layers_by_depth(model)
        steps = max(len(groups) - 1, 1)
        found = []
        for depth, group in enumerate(groups):
            # A model of one layer has only the last one.
            at = depth / steps if len(groups) > 1 else 1.0
            found += [(layer, self._strength_at(at)) for layer in group]
        return found

    def _strength_at(self, at: float) -> float:
        if self.rule == "linear":
            strength = self.first + (self.last - self.first) * at
        else:
            strength = self.first ** (1 - at) * self.last**at
        # Without the last digits, which are rounding errors.
        return float(f"{strength:.12g}")
