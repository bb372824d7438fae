"""Layers of tf_keras that are those of Keras 3."""

import inspect
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, cast

import keras

from keras_ext._core._checks import require
from keras_ext._core._typing import Config, Function, Layer, Tensor

# What is copied, seeded or shown elsewhere.
_LEFT_OUT = {
    *("name", "dtype", "seed", "build_config", "registered_name", "input_axes"),
    *("output_axes", "optional", "synchronized"),
}
_RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
# Others stand for other mathematics in Keras 2, or for none.
# hard_sigmoid, for one, is relu6(x + 3) / 6 here and clip(0.2 x + 0.5, 0, 1) there.
_SAME = {
    *("elu", "exponential", "gelu", "linear", "relu", "selu", "sigmoid", "softmax"),
    *("softplus", "softsign", "tanh"),
}


class LayerMaker:
    """Makes layers of tf_keras from those of Keras 3, without their weights.

    Args:
        tf_keras: The module.
    """

    def __init__(self, tf_keras: ModuleType) -> None:
        self.tf_keras = tf_keras
        self._activations: dict[str, Function] = {}

    def input_of(self, tensor: keras.KerasTensor, name: str) -> Any:
        """An input, for a tensor of Keras 3."""
        return self.tf_keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)

    def of_operation(
        self,
        operation: keras.Operation,
        args: Sequence[object],
        kwargs: Mapping[str, object],
    ) -> Any:
        """What an operation of `keras.ops` gives, in a `Lambda` layer."""
        tensors: list[object] = []
        is_tensor = self.tf_keras.backend.is_keras_tensor

        def taken(item: object) -> object:
            # `is_keras_tensor` raises for what is no tensor at all.
            if hasattr(item, "shape") and is_tensor(item):
                tensors.append(item)
                return _Place(len(tensors) - 1)
            return item

        places = keras.tree.map_structure(taken, (args, kwargs))

        def call(inputs: Tensor | list[Tensor]) -> Tensor:
            given = inputs if isinstance(inputs, list | tuple) else [inputs]

            def filled(item: object) -> object:
                return given[item.number] if isinstance(item, _Place) else item

            own_args, own_kwargs = keras.tree.map_structure(filled, places)
            return operation.call(*own_args, **own_kwargs)

        layer = self.tf_keras.layers.Lambda(call, name=operation.name)
        return layer(tensors[0] if len(tensors) == 1 else tensors)

    def made(self, layer: Layer) -> Any:
        """A layer."""
        name = type(layer).__name__
        special = getattr(self, f"_of_{name}", None)
        if special is not None:
            made = special(layer)
        else:
            known = getattr(keras.layers, name, None) is type(layer)
            kind = getattr(self.tf_keras.layers, name, None) if known else None
            rule = f"a model without {name}, which tf_keras does not have"
            require(kind is not None, "model", layer.name, rule)
            kind = cast(Any, kind)
            made = kind(**self._config(layer, kind))
        made.trainable = layer.trainable
        return made

    def _config(self, layer: Layer, kind: type) -> Config:
        # The config of Keras 3 has a dictionary for the dtype, which tf_keras cannot
        # read.
        config: Config = {"name": layer.name, "dtype": layer.dtype_policy.name}
        accepted, usual = _accepted(kind), _accepted(type(layer))
        renamed = _RENAMED.get(kind.__name__, {})
        for key, value in layer.get_config().items():
            name = renamed.get(key, key)
            if key in _LEFT_OUT or key.endswith("initializer"):
                continue
            if name not in accepted:
                # An option of Keras 3 alone: it must not matter.
                neutral = key not in usual or usual[key] == value or value is None
                neutral = neutral or key == "trainable" or value == _channels(key)
                rule = f"a model without {key}={value!r}, which tf_keras does not have"
                require(neutral, "model", layer.name, rule)
            else:
                config[name] = self._value(layer, key, value)
        return config

    def _value(self, layer: Layer, key: str, value: Any) -> Any:
        if key.endswith(("regularizer", "constraint")) and value is not None:
            module = "regularizers" if key.endswith("regularizer") else "constraints"
            entry = {"class_name": value["class_name"], "config": value["config"]}
            return getattr(self.tf_keras, module).deserialize(entry)
        if key in ("activation", "recurrent_activation"):
            return self._activation(getattr(layer, key))
        return value

    def _activation(self, function: Function) -> str | Function:
        name = getattr(function, "__name__", "")
        of_keras = getattr(keras.activations, name, None) is function
        if of_keras and name in _SAME:
            return name
        if name not in self._activations:

            def activation(x: Tensor) -> Tensor:
                return function(x)

            # By their names wrappers make copies of layers.
            activation.__name__ = f"keras3_{name}"
            register = self.tf_keras.saving.register_keras_serializable("keras_ext")
            self._activations[name] = register(activation)
        return self._activations[name]

    # Layers that hold others, or functions, or what was measured.

    def _of_Bidirectional(self, layer: keras.layers.Bidirectional) -> Any:  # noqa: N802
        forward, backward = (
            self.made(inner) for inner in (layer.forward_layer, layer.backward_layer)
        )
        mode, name = layer.merge_mode, layer.name
        kind = self.tf_keras.layers.Bidirectional
        return kind(forward, backward_layer=backward, merge_mode=mode, name=name)

    def _of_TimeDistributed(self, layer: keras.layers.TimeDistributed) -> Any:  # noqa: N802
        kind = self.tf_keras.layers.TimeDistributed
        return kind(self.made(layer.layer), name=layer.name)

    def _of_Lambda(self, layer: keras.layers.Lambda) -> Any:  # noqa: N802
        kind = self.tf_keras.layers.Lambda
        return kind(layer.function, arguments=layer.arguments, name=layer.name)

    def _of_Normalization(self, layer: keras.layers.Normalization) -> Any:  # noqa: N802
        # Keras 3 keeps the mean in a shape that broadcasts, such as (1, 1, 3).
        shape = [n for n in layer.mean.shape if n != 1] or [1]
        mean, variance = (
            keras.ops.convert_to_numpy(v).reshape(shape).tolist()
            for v in (layer.mean, layer.variance)
        )
        kind = self.tf_keras.layers.Normalization
        config = {"axis": layer.get_config()["axis"], "name": layer.name}
        return kind(mean=mean, variance=variance, invert=layer.invert, **config)

    def _of_Activation(self, layer: keras.layers.Activation) -> Any:  # noqa: N802
        kind = self.tf_keras.layers.Activation
        return kind(self._activation(layer.activation), name=layer.name)


def _channels(key: str) -> str | None:
    """Where channels are in all of Keras, which some layers there do not ask."""
    return keras.config.image_data_format() if key == "data_format" else None


class _Place:
    """Stands for a tensor among the arguments of an operation."""

    def __init__(self, number: int) -> None:
        self.number = number


def _accepted(kind: Any) -> Config:
    """The arguments of a class with their defaults, those of its bases included."""
    found: Config = {}
    for owner in kind.__mro__:
        if "__init__" not in vars(owner) or owner is object:
            continue
        parameters = inspect.signature(owner.__init__).parameters.values()
        for parameter in parameters:
            found.setdefault(parameter.name, parameter.default)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found
