import keras
import numpy as np

from keras_ext._anatomy._topology import consumers, output_layers

layers = keras.layers


def test_finds_who_takes_what_in_any_structure():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    both = layers.Add(name="both")([a, b])
    shared = layers.Dense(2, name="shared")
    twice = layers.Concatenate(name="twice")([shared(both), shared(b)])
    graph = keras.Model([a, b], {"z": both, "m": twice})
    assert consumers(graph) == {
        "a": ["both"],
        "b": ["both", "shared"],
        "both": ["shared", ""],
        "shared": ["twice", "twice"],
        "twice": [""],
    }
    assert output_layers(graph) == ["twice", "both"]
    x = np.ones((1, 2))
    outputs = keras.tree.flatten(graph([x, x]))
    assert [y.shape[-1] for y in outputs] == [4, 2]
