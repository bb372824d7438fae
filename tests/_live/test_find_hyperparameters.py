import keras

from keras_ext._live._find_hyperparameters import find_hyperparameters


def test_each_has_a_path_of_its_own():
    shared = keras.regularizers.L2(0.1)
    layers = [
        keras.layers.Dense(2, kernel_regularizer=shared, name="a"),
        keras.layers.Dense(2, kernel_regularizer=shared, name="b"),
        keras.layers.Dropout(0.3, name="drop"),
    ]
    inner = keras.Sequential([keras.Input((2,)), *layers], name="inner")
    model = keras.Sequential([keras.Input((2,)), inner])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    found = {f.path: float(f.value) for f in find_hyperparameters(model)}
    # What two layers share is found once; a model without `compile` has the others.
    assert found == {
        "inner/a/kernel_regularizer/l2": 0.1,
        "inner/drop/rate": 0.3,
        "optimizer/momentum": 0.9,
    }


def test_dropout_in_an_attention_layer_is_found_once():
    attention = keras.layers.MultiHeadAttention(1, 2, dropout=0.2, name="attention")
    x = keras.Input((3, 2))
    model = keras.Model(x, attention(x, x))
    (found,) = find_hyperparameters(model)
    assert (found.owner, found.value) == (attention, 0.2)
