import keras
from keras import layers

from keras_ext.core._sublayers import sublayers


def names(layer):
    return [x.name for x in sublayers(layer)]


def test_a_layer_without_parts_is_alone():
    dense = layers.Dense(1)
    assert sublayers(dense) == [dense]


def test_goes_through_nested_models_outer_ones_first():
    inner = keras.Sequential([layers.Dense(1, name="in")], name="inner")
    inputs = keras.Input((2,), name="x")
    middle = keras.Model(inputs, inner(layers.Dense(2, name="mid")(inputs)), name="m")
    outer = keras.Sequential([middle, layers.Dense(3, name="out")], name="outer")
    expected = ["outer", "m", "mid", "inner", "in", "out"]
    # Keras has some layers of its own in a model.
    assert [name for name in names(outer) if name in expected] == expected


def test_looks_into_wrappers():
    dense = layers.Dense(1, name="dense")
    lstm = layers.LSTM(2, name="lstm")
    assert set(names(layers.TimeDistributed(dense, name="td"))) == {"td", "dense"}
    found = names(layers.Bidirectional(lstm, name="bi"))
    assert {"bi", "forward_lstm", "backward_lstm", "lstm_cell"} <= set(found)
    normal = layers.SpectralNormalization(dense, name="spectral")
    assert set(names(normal)) == {"spectral", "dense"}


def test_looks_into_recurrent_layers_and_stacked_cells():
    cells = [layers.LSTMCell(2, name="a"), layers.GRUCell(2, name="b")]
    assert {"a", "b"} <= set(names(layers.RNN(cells)))


def test_looks_into_attention_once_it_is_built():
    attention = layers.MultiHeadAttention(2, 3)
    attention.build((None, 4, 5), (None, 4, 5))
    found = set(names(attention))
    assert {"query", "key", "value", "attention_output"} <= found
    assert any(isinstance(x, layers.Dropout) for x in sublayers(attention))


class Custom(layers.Layer):
    """Holds layers in every way there is."""

    def __init__(self, shared):
        super().__init__(name="custom")
        self.plain = layers.Dense(1, name="plain")
        self.many = [layers.Dense(1, name="item"), [layers.Dense(1, name="deep")]]
        self.named = {"key": layers.Dense(1, name="value")}
        self.pair = (1, layers.Dense(1, name="second"))
        self.shared = shared
        self.again = shared
        self.number = 3


def test_looks_into_attributes_lists_and_dictionaries():
    found = names(Custom(layers.Dense(1, name="shared")))
    expected = ["plain", "item", "deep", "value", "second", "shared"]
    assert sorted(found) == sorted(["custom", *expected])
    assert found[0] == "custom"


def test_lists_a_shared_layer_once():
    shared = layers.Dense(2, name="shared")
    inputs = keras.Input((2,))
    model = keras.Model(inputs, shared(shared(inputs)))
    assert names(model).count("shared") == 1
    assert names(keras.Sequential([Custom(shared), shared])).count("shared") == 1


def test_layers_that_know_each_other_do_not_loop_for_ever():
    a, b = layers.Dense(1, name="a"), layers.Dense(1, name="b")
    a.other, b.other = b, a
    assert names(a) == ["a", "b"]


def test_finds_layers_of_a_subclassed_model():
    class Model(keras.Model):
        def __init__(self):
            super().__init__(name="model")
            self.blocks = [Custom(layers.Dense(1, name="shared"))]

    assert {"model", "custom", "plain", "shared"} <= set(names(Model()))
