import keras
import numpy as np
import pytest

from keras_ext._anatomy._replay import mapped, replayed

layers, ops = keras.layers, keras.ops


def mixed():
    a, b = keras.Input((2, 4), name="q"), keras.Input((2, 4), name="p")
    shared = layers.Dense(4)
    x = layers.Add()([shared(a), shared(b)])
    parts = ops.split(x[:, :, 1:3], 2, axis=-1)
    scaled = layers.Dropout(0.5)(parts[1]) * 2.0
    return keras.Model({"q": a, "p": b}, {"z": scaled, "y": [parts[0], x]})


@pytest.mark.filterwarnings("ignore:The structure of `inputs`")
def test_the_same_calls_give_the_same():
    graph = mixed()
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 3, 2, 4)).astype("float32")
    # As `inputs` are: by sorted keys.
    found = replayed(graph, [p, q], lambda layer, args, kwargs: layer(*args, **kwargs))
    expected = graph({"p": p, "q": q})
    assert list(found) == ["z", "y"]
    np.testing.assert_array_equal(found["z"], expected["z"])
    for one, other in zip(found["y"], expected["y"], strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_keras_notes_of_a_call_without_being_told_is_left_out():
    inputs = keras.Input((2,))
    graph = keras.Model(inputs, layers.Dropout(0.5, name="drop")(inputs))
    calls = []
    replayed(graph, ["x"], lambda *call: calls.append(call))
    assert calls == [(graph.get_layer("drop"), ("x",), {})]


def test_structures_of_a_config_keep_their_form():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    graph = keras.Model({"a": a, "b": b}, [layers.Add(name="sum")([a, b]), a])
    config = graph.get_config()
    names = mapped(config["input_layers"], lambda history: history[0])
    assert names == {"a": "a", "b": "b"}
    assert mapped(config["output_layers"], lambda h: h[0]) == ["sum", "a"]
