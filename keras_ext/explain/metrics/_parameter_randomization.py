"""Whether an explanation depends on what the model has learned."""

import keras
import numpy as np

from keras_ext._anatomy._sublayers import layer_paths, sublayers
from keras_ext._core._checks import flag, integer, require
from keras_ext._core._progress import Progress
from keras_ext._core._typing import Data, Explanation, Variable
from keras_ext.explain._explainer import Explainer
from keras_ext.explain._subject import Subject
from keras_ext.explain._values import rank_correlation


def parameter_randomization(
    explanation: Explanation,
    explainer: Explainer,
    *,
    x: Data,
    absolute: bool = False,
    cascading: bool = True,
    budget: int | str = "auto",
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Explains the rows again while the weights of the model are shuffled.

    From the last layer to the first, the elements of each weight change places, so that
    their distribution remains. An explanation that shows what the model has learned
    becomes another one; where the correlation stays high, it shows the data, or
    the architecture. Afterwards the weights are as they were, also after an error.

    Args:
        explanation: What the explainer returned for the rows.
        explainer: The explainer.
        x: The explained rows, as the model takes them.
        absolute: Whether the sizes of the values are compared, without their signs.
            Defaults to `False`.
        cascading: Whether the layers that were shuffled before remain so; otherwise one
            layer at a time is. Defaults to `True`.
        budget: That with which the rows were explained. Defaults to `"auto"`.
        seed: Integer >= 0. Defaults to `0`.

    Returns:
        For the path of each layer with weights, the last one first, the rank
        correlation (Spearman's) of the values before and after: `(rows,)`, or `(rows,
        outputs)` if several are explained; NaN if all values of a row are equal.
        The order is that in which the model lists its layers.

    Raises:
        ValueError: If an argument is not of this form, or the explanation is not of
            these rows, players and outputs.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> layers = [keras.layers.Dense(4, "tanh", name="hidden")]
        >>> layers = [keras.Input((5,)), *layers, keras.layers.Dense(1, name="head")]
        >>> model = keras.Sequential(layers)
        >>> explainer = kx.explain.Explainer(model, background=np.zeros((1, 5)))
        >>> x = np.ones((2, 5))
        >>> found = kx.explain.metrics.parameter_randomization(
        ...     explainer(x), explainer, x=x
        ... )
        >>> list(found), found["head"].shape
        (['head', 'hidden'], (2,))

    References:
        - [Adebayo et al., 2018](https://arxiv.org/abs/1810.03292)
    """
    flag(absolute, "absolute")
    flag(cascading, "cascading")
    seed = integer(seed, "seed", low=0)
    subject = Subject(explanation, explainer, x)
    model = subject.problem.function.model
    rule = "of a keras.Model, which has weights"
    require(isinstance(model, keras.Model), "explainer", model, rule)
    before = np.abs(subject.values) if absolute else subject.values
    layers = _weights_by_layer(subject.problem.function.model)
    kept = [(v, np.array(v)) for own in layers.values() for v in own]
    rng, progress, found = np.random.default_rng(seed), Progress(), {}
    try:
        for path, weights in layers.items():
            if not cascading:
                _restore(kept)
            for weight in weights:
                values = np.array(weight)
                weight.assign(rng.permutation(values.ravel()).reshape(values.shape))
            after = subject.explained(subject.rows.parts, budget)
            after = np.abs(after) if absolute else after
            found[path] = subject.shaped(rank_correlation(before, after))
            progress(len(found), len(layers))
    finally:
        _restore(kept)
    return found


def _weights_by_layer(model: keras.Model) -> dict[str, list[Variable]]:
    """The weights that each layer has itself, from the last layer to the first."""
    found = {}
    for layer, path in reversed(layer_paths(model).items()):
        inner = {id(v) for held in sublayers(layer)[1:] for v in held.weights}
        own = [v for v in layer.weights if id(v) not in inner]
        # Not the states of seeds, which have learned nothing.
        own = [v for v in own if keras.backend.is_float_dtype(v.dtype)]
        if own:
            found[path or model.name] = own
    return found


def _restore(kept: list[tuple[Variable, np.ndarray]]) -> None:
    for weight, values in kept:
        weight.assign(values)
