"""Which layers of a functional model take what others give."""

from typing import Any

import keras


def consumers(graph: keras.Model) -> dict[str, list[str]]:
    """From the names of layers to those that take what they give; `""` is the end.

    Args:
        graph: A functional model.

    Examples:
        >>> import keras
        >>> from keras_ext._anatomy._topology import consumers
        >>> inputs = keras.Input((2,), name="in")
        >>> graph = keras.Model(inputs, keras.layers.ReLU(name="relu")(inputs))
        >>> consumers(graph)
        {'in': ['relu'], 'relu': ['']}
    """
    config = graph.get_config()
    found: dict[str, list[str]] = {}
    for entry in config["layers"]:
        for source in _sources(entry["inbound_nodes"]):
            found.setdefault(source, []).append(entry["name"])
    for source in output_layers(graph):
        found.setdefault(source, []).append("")
    return found


def output_layers(graph: keras.Model) -> list[str]:
    """The names of the layers that give the outputs, in the order of `outputs`.

    Args:
        graph: A functional model.
    """
    return [name for name, _ in output_places(graph)]


def input_layers(graph: keras.Model) -> list[str]:
    """The names of the input layers, in the order of `inputs`.

    Args:
        graph: A functional model.
    """
    return [name for name, _ in _places(graph.get_config()["input_layers"])]


def output_places(graph: keras.Model) -> list[tuple[str, int]]:
    """The same, each with which of the outputs of the layer it is.

    Args:
        graph: A functional model.
    """
    return _places(graph.get_config()["output_layers"])


def _sources(item: object) -> list[str]:
    if isinstance(item, dict):
        if item.get("class_name") == "__keras_tensor__":
            return [item["config"]["keras_history"][0]]
        return [name for value in item.values() for name in _sources(value)]
    if isinstance(item, list | tuple):
        return [name for value in item for name in _sources(value)]
    return []


def _places(item: Any) -> list[tuple[str, int]]:
    """What a config has in `output_layers`: `[name, node, tensor]`, or a structure."""
    if isinstance(item, list | tuple) and item and isinstance(item[0], str):
        return [(item[0], item[2])]
    if isinstance(item, dict):
        # The order of `keras.tree`, and of `model.outputs`.
        return [place for key in sorted(item) for place in _places(item[key])]
    return [place for part in item for place in _places(part)]
