"""Where Keras keeps the hyperparameters that it compiles into the training step.

Keras's private names that stand here: `_dropout` and `_dropout_layer` of
`MultiHeadAttention`, `_create_dropout_mask` of the recurrent cells, `_fn_kwargs` of the
losses, `_compile_loss` and `_compile_config` of a model. The tests fail when Keras
changes them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import layers, ops

from keras_ext.core._dropout_kernel import (
    LARGEST_RATE,
    live_dropout,
    resolved_noise_shape,
)
from keras_ext.core._hyper_variable import HyperVariable, joined, unique_path
from keras_ext.core._live_value import LiveFloat, LiveValue
from keras_ext.core._replica import optimizer_family
from keras_ext.core._sublayers import layer_paths, sublayers
from keras_ext.core._typing import Tensor

# Bounds and scale of the kinds of hyperparameters.
_RATE = ((0.0, LARGEST_RATE), "logit")
_FRACTION = ((0.0, 0.999999), "logit")
_STRENGTH = ((0.0, None), "log")

_SPATIAL = layers.SpatialDropout1D | layers.SpatialDropout2D | layers.SpatialDropout3D
_RANDOM = {
    layers.Dropout: ("rate", _RATE),
    layers.GaussianDropout: ("rate", _RATE),
    layers.AlphaDropout: ("rate", _RATE),
    layers.GaussianNoise: ("stddev", ((0.0, 1.0), "log")),
}
_REGULARIZER = ("l1", "l2", "factor")
_OPTIMIZER = {
    "weight_decay": _STRENGTH,
    **dict.fromkeys(("momentum", "beta_1", "beta_2", "rho"), _FRACTION),
}


@dataclass(frozen=True)
class Knob:
    """One number of a model that can be made live.

    Attributes:
        path: Its readable path.
        owner: The object that has it.
        value: The present value.
        kind: Its bounds and scale.
        places: Functions that put a number where it is read.
        prepare: Makes the owner read a number that changes.
    """

    path: str
    owner: Any
    value: float
    kind: Any
    places: tuple[Callable[[float], None], ...]
    prepare: Callable[[], None] = lambda: None

    @property
    def live(self) -> LiveValue | None:
        """The live value in its place, if there is one."""
        return self.value.live if isinstance(self.value, LiveFloat) else None

    def make_live(self, model: keras.Model) -> LiveValue:
        """Puts a live value in the place of the number."""
        if self.live is not None:
            return self.live
        bounds, scale = self.kind
        value = float(self.value)
        if bounds[1] is not None:
            value = min(value, bounds[1])
        live = LiveValue(value, self.path.rpartition("/")[2], bounds, scale)
        with model.distribute_strategy.scope():
            live.build()
            self.prepare()
        _save_plainly(self.owner)
        for place in self.places:
            live.stand_in(place)
        return live

    def make_plain(self) -> None:
        """Leaves the present value behind as an ordinary number."""
        if self.live is not None:
            self.live.release()
        if not any(isinstance(value, LiveFloat) for value in vars(self.owner).values()):
            _restore(self.owner)


def knobs(model: keras.Model) -> Iterator[Knob]:
    """Yields the numbers of a model that can be made live, each with its own path."""
    taken: dict[str, None] = {}
    for knob in _all_knobs(model):
        path = unique_path(knob.path, taken)
        taken[path] = None
        yield replace(knob, path=path)


def _all_knobs(model: keras.Model) -> Iterator[Knob]:
    paths = layer_paths(model)
    inside = {
        id(inner)
        for layer in paths
        if isinstance(layer, layers.MultiHeadAttention | layers.GroupQueryAttention)
        for inner in sublayers(layer)[1:]
        if isinstance(inner, layers.Dropout)
    }
    regularizers: set[int] = set()
    for layer, path in paths.items():
        if id(layer) not in inside:
            yield from _of_layer(layer, path)
            yield from _of_regularizers(layer, path, regularizers)
    yield from _of_optimizer(model)
    yield from _of_losses(model)


def _of_layer(layer: Any, path: str) -> Iterator[Knob]:
    for kind, (name, limits) in _RANDOM.items():
        if isinstance(layer, kind):
            yield _attribute(layer, name, path, limits, lambda: _prepare_random(layer))
    if isinstance(layer, layers.BatchNormalization):
        yield _attribute(layer, "momentum", path, _FRACTION)
        if getattr(layer, "renorm", False):
            yield _attribute(layer, "renorm_momentum", path, _FRACTION)
    if hasattr(layer, "get_dropout_mask"):
        yield from _of_cell(layer, path)
    if isinstance(layer, layers.MultiHeadAttention):
        yield _of_attention(layer, "_dropout", path)
    elif isinstance(layer, layers.GroupQueryAttention):
        yield _of_attention(layer, "dropout", path)


def _attribute(
    owner: Any,
    name: str,
    path: str,
    kind: Any,
    prepare: Callable[[], None] = lambda: None,
) -> Knob:
    return Knob(
        joined(path, name),
        owner,
        getattr(owner, name),
        kind,
        (_into(owner, name),),
        prepare,
    )


def _into(owner: Any, name: str) -> Callable[[Any], None]:
    # Past Keras's attribute tracking, which a layer that is built has closed.
    return lambda value: object.__setattr__(owner, name, value)


def _of_cell(cell: Any, path: str) -> Iterator[Knob]:
    def prepare() -> None:
        def create(step_input: Tensor, rate: Any) -> Any:
            def mask() -> Tensor:
                ones = ops.ones_like(step_input)
                rate_now = ops.convert_to_tensor(rate, dtype="float32")
                shape = ops.shape(ones)
                return live_dropout(ones, rate_now, shape, cell.seed_generator)

            count = getattr(cell, "dropout_mask_count", None)
            return mask() if count is None else [mask() for _ in range(count)]

        _replace(cell, "_create_dropout_mask", create)

    yield _attribute(cell, "dropout", path, _RATE, prepare)
    # Keras chooses the kernel by whether there is any: 0 has to stay 0.
    if getattr(cell, "recurrent_dropout", 0) > 0:
        yield _attribute(cell, "recurrent_dropout", path, _RATE, prepare)


def _of_attention(layer: Any, name: str, path: str) -> Knob:
    def place(value: float) -> None:
        object.__setattr__(layer, name, value)
        object.__setattr__(layer._dropout_layer, "rate", value)

    def prepare() -> None:
        _prepare_random(layer._dropout_layer)

    value = getattr(layer, name)
    return Knob(joined(path, "dropout"), layer, value, _RATE, (place,), prepare)


def _prepare_random(layer: Any) -> None:
    """Makes a layer draw its noise also if its rate was 0, and by a live rate."""
    if getattr(layer, "seed_generator", None) is None:
        generator = keras.random.SeedGenerator(layer.seed)
        object.__setattr__(layer, "seed_generator", generator)
    if isinstance(layer, layers.Dropout):
        _replace(layer, "call", _dropout_call(layer))
    elif isinstance(layer, layers.GaussianDropout):
        _replace(layer, "call", _gaussian_dropout_call(layer))


def _dropout_call(layer: Any) -> Callable[..., Tensor]:
    def call(inputs: Tensor, training: bool = False) -> Tensor:
        if not training:
            return inputs
        rate = ops.convert_to_tensor(layer.rate, dtype="float32")
        shape = noise_shape(layer, inputs)
        return live_dropout(inputs, rate, shape, layer.seed_generator)

    return call


def _gaussian_dropout_call(layer: Any) -> Callable[..., Tensor]:
    def call(inputs: Tensor, training: bool = False) -> Tensor:
        if not training:
            return inputs
        rate = ops.convert_to_tensor(layer.rate, dtype="float32")
        deviation = ops.sqrt(rate / (1.0 - rate))
        noise = keras.random.normal(
            ops.shape(inputs), dtype="float32", seed=layer.seed_generator
        )
        return inputs * ops.cast(1.0 + deviation * noise, inputs.dtype)

    return call


def noise_shape(layer: Any, inputs: Tensor) -> Any:
    """The shape of the mask of a dropout layer, of Keras or ours."""
    if isinstance(layer, _SPATIAL):
        shape = ops.shape(inputs)
        channels_first = getattr(layer, "data_format", "") == "channels_first"
        spatial = range(2, len(shape)) if channels_first else range(1, len(shape) - 1)
        return tuple(1 if i in spatial else n for i, n in enumerate(shape))
    return resolved_noise_shape(layer.noise_shape, inputs)


def _of_regularizers(layer: Any, path: str, seen: set[int]) -> Iterator[Knob]:
    for name, regularizer in vars(layer).items():
        # Some are kept under a private name, with a public property.
        if isinstance(regularizer, keras.Regularizer) and id(regularizer) not in seen:
            seen.add(id(regularizer))
            for part in _REGULARIZER:
                # What is live by itself needs no help.
                value = vars(regularizer).get(part)
                if value is not None and not isinstance(value, HyperVariable):
                    where = joined(path, name.lstrip("_"))
                    yield _attribute(regularizer, part, where, _STRENGTH)


def _of_optimizer(model: keras.Model) -> Iterator[Knob]:
    present = getattr(model, "optimizer", None)
    for optimizer in optimizer_family(present) if present is not None else ():
        for name, kind in _OPTIMIZER.items():
            value = vars(optimizer).get(name)
            # A momentum of 0 has no state to keep it in.
            if isinstance(value, float | int) and (name != "momentum" or value != 0):
                yield _attribute(optimizer, name, "optimizer", kind)


def _of_losses(model: keras.Model) -> Iterator[Knob]:
    for loss in keras.tree.flatten(getattr(model, "loss", None)):
        if isinstance(loss, keras.Loss) and "label_smoothing" in vars(loss):
            yield Knob(
                "loss/label_smoothing",
                loss,
                loss.label_smoothing,
                _FRACTION,
                (_into(loss, "label_smoothing"), _into_arguments(loss)),
            )
    compiled = getattr(model, "_compile_loss", None)
    weights = None if compiled is None else compiled._user_loss_weights
    if weights is not None:
        for i, (path, weight) in enumerate(_flat_with_path(weights)):
            yield Knob(
                "/".join(("loss_weights", *path)) if path else "loss/weight",
                compiled,
                weight,
                _STRENGTH,
                (_into_loss_weights(model, compiled, i),),
            )


def _into_arguments(loss: Any) -> Callable[[float], None]:
    def place(value: float) -> None:
        loss._fn_kwargs["label_smoothing"] = value

    return place


def _flat_with_path(weights: Any) -> list[tuple[tuple[str, ...], float]]:
    if isinstance(weights, dict):
        return [((str(key),), weights[key]) for key in sorted(weights)]
    if isinstance(weights, list | tuple):
        return [((str(i),), weight) for i, weight in enumerate(weights)]
    return [((), weights)]


def _into_loss_weights(model: Any, compiled: Any, i: int) -> Callable[[float], None]:
    def replaced(weights: Any, value: float) -> Any:
        flat = keras.tree.flatten(weights)
        flat[i] = value
        return keras.tree.pack_sequence_as(weights, flat)

    def place(value: float) -> None:
        compiled._user_loss_weights = replaced(compiled._user_loss_weights, value)
        saved = model._compile_config.config
        saved["loss_weights"] = replaced(saved["loss_weights"], float(value))
        if compiled._flat_losses:
            # What was made of the weights when the first batch came.
            compiled._flat_losses[i] = compiled._flat_losses[i]._replace(
                loss_weights=value
            )

    return place


def _save_plainly(owner: Any) -> None:
    """Keeps live numbers out of the config, and so out of clones."""
    if not hasattr(owner, "get_config") or "get_config" in vars(owner):
        return
    get_config = owner.get_config

    def plain_config() -> Any:
        return keras.tree.map_structure(
            lambda x: float(x) if isinstance(x, LiveFloat) else x, get_config()
        )

    _replace(owner, "get_config", plain_config)


# Methods of one object that stand in for those of its class.


def _replace(owner: Any, name: str, method: Callable[..., Any]) -> None:
    _into(owner, name)(method)
    replaced = vars(owner).get(_REPLACED, ())
    _into(owner, _REPLACED)((*replaced, name))


def _restore(owner: Any) -> None:
    for name in vars(owner).get(_REPLACED, ()):
        vars(owner).pop(name, None)
    vars(owner).pop(_REPLACED, None)
    if isinstance(owner, layers.MultiHeadAttention | layers.GroupQueryAttention):
        _restore(owner._dropout_layer)


_REPLACED = "_keras_ext_replaced"
