import keras
import pytest

from keras_ext.compression import from_tf_keras, to_tf_keras
from keras_ext.compression._to_tf_keras import _histories, _mapped

# That models are the same there, and come back, is tested where tf_keras is: see
# `tests/bridge/tfmot_bridge.py`, which `.ci/run` runs in an environment of its own.


class Own(keras.Model):
    def call(self, x):
        return x


def test_refuses_what_does_not_say_how_it_is_connected():
    with pytest.raises(ValueError, match="`model` must be a built Sequential or funct"):
        to_tf_keras(Own())
    with pytest.raises(ValueError, match="`into` must be a built Sequential or functi"):
        from_tf_keras(Own(), Own())


def test_refuses_a_source_that_is_no_model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="`source` must be a tf_keras.Model"):
        from_tf_keras(3, model)


def test_finds_what_a_call_takes_in_any_structure():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    graph = keras.Model({"a": a, "b": b}, [keras.layers.Add(name="sum")([a, b]), a])
    config = graph.get_config()
    (node,) = config["layers"][-1]["inbound_nodes"]
    assert [h[0] for h in _histories(node)] == ["a", "b"]
    names = _mapped(config["input_layers"], lambda history: history[0])
    assert names == {"a": "a", "b": "b"}
    assert _mapped(config["output_layers"], lambda h: h[0]) == ["sum", "a"]
