"""Which weights of a model can be pruned, and why the others cannot."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras

from keras_ext._anatomy._sublayers import layer_paths, sublayers
from keras_ext._core._checks import require
from keras_ext._core._paths import joined
from keras_ext._core._pattern import check_pattern, is_selected, require_some
from keras_ext._core._typing import Layer, Pattern, Variable

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


@dataclass(frozen=True)
class Candidate:
    """A weight of a model, and the reason not to compress it, None if there is none."""

    path: str
    variable: Variable
    reason: str | None


def candidates(
    model: keras.Model,
    include: Pattern,
    exclude: Pattern,
    reason_against: Callable[[Variable], str | None],
) -> list[Candidate]:
    """Lists the weights with two axes or more, each with its verdict.

    Args:
        model: A built model.
        include: Which are meant, also such that are no kernels by name; None for all
            kernels and embeddings that are not depthwise.
        exclude: Which are not.
        reason_against: What else may speak against one.

    Raises:
        ValueError: If the model is not built, or nothing is left.
    """
    check_pattern("include", include)
    check_pattern("exclude", exclude)
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    hint = "Give it an Input, or call it once."
    require(model.built, "model", model.name, "a built model", hint)
    found = []
    for path, layer, variable in _own_weights(model):
        if len(variable.shape) < 2:
            continue
        reason = _reason(path, layer, variable, include, exclude)
        reason = reason_against(variable) if reason is None else reason
        found.append(Candidate(path, variable, reason))
    chosen = [c for c in found if c.reason is None]
    if include is None and exclude is None:
        reasons = [f"{c.path}: {c.reason}" for c in found][:5]
        rule = f"one with weights that can be compressed, not just {reasons}"
        require(bool(chosen), "model", model.name, rule)
    paths = [f"{c.path} ({c.reason})" if c.reason else c.path for c in found]
    require_some(chosen, include, exclude, what="weight", paths=paths)
    return found


def _reason(
    path: str, layer: Layer, variable: Variable, include: Pattern, exclude: Pattern
) -> str | None:
    if not variable.trainable:
        return "it is not trainable"
    if not is_selected(variable, include, exclude, path):
        return "it is not selected"
    if variable.dtype not in ("float32", "float16", "bfloat16", "float64"):
        return f"it is of dtype {variable.dtype}"
    # What is asked for is taken, whatever its name.
    if include is not None:
        return None
    if isinstance(layer, _DEPTHWISE) or "depthwise" in variable.name:
        return "it is depthwise, with few entries for each channel"
    if not variable.name.endswith(("kernel", "embeddings")):
        return "it is no kernel by its name; list it in `include`"
    return None


def _own_weights(model: keras.Model) -> Iterator[tuple[str, Layer, Variable]]:
    """The weights, each once, with their paths and the innermost layers with them."""
    seen: set[int] = set()
    for layer, path in layer_paths(model).items():
        # The first of `sublayers` is the layer itself.
        inner = {id(v) for child in sublayers(layer)[1:] for v in child.weights}
        for variable in layer.weights:
            if id(variable) not in inner | seen:
                seen.add(id(variable))
                yield joined(path, variable.name), layer, variable
