"""The live hyperparameters of a model."""

from collections.abc import Iterable, Iterator

import keras

from keras_ext._anatomy._sublayers import layer_paths
from keras_ext._core._checks import require
from keras_ext._core._paths import joined, unique_path
from keras_ext._live._find_hyperparameters import find_hyperparameters
from keras_ext._live._hyper_variable import HyperVariable

# On a model: what is hung on it for a training and holds some, by name.
HUNG = "_keras_ext_hung"


def hyper_variables(model: keras.Model) -> dict[str, HyperVariable]:
    """Lists the live hyperparameters of a model, by path.

    This finds those of its layers, their regularizers, its optimizer and gradient
    transforms, everything that `make_live` has made live, and, during `fit`, those of
    objectives. A shared one is listed once.

    Args:
        model: The model, compiled or not.

    Returns:
        A dictionary from path within the model, such as `"block/dropout/rate"` or
        `"optimizer/adaptive_clip/clipping"`, to `HyperVariable`.

    Raises:
        ValueError: If `model` is not a model.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> dropout = kx.layers.LiveDropout(0.2, name="dropout")
        >>> model = keras.Sequential([keras.Input((4,)), dropout])
        >>> list(kx.hyper_variables(model))
        ['dropout/rate']
    """
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    found: dict[str, HyperVariable] = {}
    seen: set[int] = set()
    # The optimizer first: it is an attribute of the model too, but not a part.
    owners: list[tuple[str, object]] = [
        ("optimizer", getattr(model, "optimizer", None))
    ]
    owners += [(path, layer) for layer, path in layer_paths(model).items()]
    owners += list(vars(model).get(HUNG, {}).items())
    for path, owner in owners:
        for name, variable in _held_by(path, owner, seen):
            found[unique_path(name, found)] = variable
    for knob in find_hyperparameters(model):
        if knob.live is not None:
            found[unique_path(knob.path, found)] = knob.live
    return found


def _held_by(
    path: str, owner: object, seen: set[int]
) -> Iterator[tuple[str, HyperVariable]]:
    """Yields what `owner` holds, also in what it is made of, other layers apart."""
    if id(owner) in seen:
        return
    seen.add(id(owner))
    if isinstance(owner, HyperVariable):
        yield joined(path, owner.name), owner
    for attribute, part in _parts(owner):
        if not isinstance(part, keras.Layer):
            yield from _held_by(joined(path, _part_name(attribute, part)), part, seen)


def _parts(owner: object) -> Iterable[tuple[str, object]]:
    if isinstance(owner, list | tuple):
        return [("", part) for part in owner]
    return vars(owner).items() if _may_hold(owner) else ()


def _may_hold(owner: object) -> bool:
    kinds = (
        keras.Layer,
        keras.Regularizer,
        keras.optimizers.Optimizer,
    )
    return isinstance(owner, kinds) or hasattr(owner, "holds_hyper_variables")


def _part_name(attribute: str, item: object) -> str:
    if isinstance(item, keras.Regularizer):
        # As `make_live` names those of Keras: a layer can have several.
        return attribute.lstrip("_")
    named = hasattr(item, "holds_hyper_variables")
    return getattr(item, "name", "") if named else ""
