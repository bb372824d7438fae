import keras
from keras import layers

from keras_ext._anatomy._sublayers import layer_paths, sublayers, weight_paths


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


def public(paths):
    return [path for path in paths.values() if "functional" not in path]


def nested_model():
    drop = layers.Dropout(0.1, name="drop")
    inner = keras.Sequential([keras.Input((2,)), drop, layers.Dense(2)], name="inner")
    inputs = keras.Input((2,), name="x")
    x = layers.Dropout(0.1, name="drop")(inner(inputs))
    outputs = layers.Dense(2, name="head")(x)
    return keras.Model(inputs, outputs, name="outer")


def test_paths_follow_from_the_structure():
    """Those of Keras are `drop` for both, since the inner model was built first."""
    paths = [path for path in layer_paths(nested_model()).values() if "drop" in path]
    assert paths == ["inner/drop", "drop"]


def test_paths_are_the_same_in_a_loaded_model(tmp_path):
    model = nested_model()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    copies = (loaded, keras.models.clone_model(model))
    for copy in copies:
        assert list(weight_paths(copy).values()) == list(weight_paths(model).values())
        # But for layers that Keras makes for itself.
        assert public(layer_paths(copy)) == public(layer_paths(model))


def test_layers_with_the_same_name_are_numbered():
    block = Custom(layers.Dense(1, name="plain"))
    block.many = [layers.Dense(1, name="plain"), layers.Dense(1, name="plain_2")]
    paths = [p for p in layer_paths(block).values() if "plain" in p]
    assert len(set(paths)) == 4
    assert sorted(paths) == ["plain", "plain_2", "plain_2_2", "plain_3"]


def test_a_shared_layer_has_the_shortest_path():
    """Though one that refers to it comes first."""
    words = layers.Embedding(5, 2, name="words")
    wrapper = layers.TimeDistributed(layers.Dense(1, name="dense"), name="each")
    wrapper.words = words
    model = keras.Sequential([wrapper, words])
    assert layer_paths(model)[words] == "words"


def test_weights_belong_to_the_innermost_layer():
    inputs = keras.Input((4, 3))
    attention = layers.MultiHeadAttention(2, 3, name="attention")
    x = layers.Bidirectional(layers.GRU(2, name="gru"), name="both")(
        attention(inputs, inputs)
    )
    model = keras.Model(inputs, nested_model()(layers.Dense(2, name="head")(x)))
    paths = weight_paths(model)
    assert set(paths) == {id(v) for v in model.trainable_variables}
    assert len(set(paths.values())) == len(paths)
    expected = {
        "attention/query/kernel",
        "both/forward_gru/gru_cell/recurrent_kernel",
        "head/kernel",
        "outer/head/kernel",
    }
    assert expected <= set(paths.values())
