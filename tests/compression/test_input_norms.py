import keras
import numpy as np

from keras_ext.compression._input_norms import input_norms, kernel_layers, weighted

layers = keras.layers


def test_measures_what_kernels_are_multiplied_with():
    inputs = keras.Input((5, 2))
    conv, dense = layers.Conv1D(3, 2, activation="relu"), layers.Dense(2)
    model = keras.Model(inputs, dense(layers.Flatten()(conv(inputs))))
    x = np.random.default_rng(0).normal(size=(6, 5, 2)).astype("float32")
    found = input_norms(model, [x[:4], x[4:]])
    rows = x.reshape(-1, 2)
    np.testing.assert_allclose(
        found[id(conv.kernel)], np.linalg.norm(rows, axis=0), rtol=1e-5
    )
    flat = np.array(conv(x)).reshape(6, -1)
    np.testing.assert_allclose(
        found[id(dense.kernel)], np.linalg.norm(flat, axis=0), rtol=1e-5
    )
    # The layers are as they were.
    assert "call" not in vars(conv)


def test_a_kernel_is_scored_by_its_inputs():
    weight = np.array([[1.0, -2.0], [3.0, 0.5]], "float32")
    np.testing.assert_allclose(
        weighted(weight, np.array([2.0, 1.0], "float32")), [[2, 4], [3, 0.5]]
    )


def test_knows_of_which_kernels_the_inputs_are_known():
    model = keras.Sequential(
        [
            keras.Input((4, 4)),
            layers.Conv1D(4, 3, groups=2),
            layers.Dense(3),
            layers.LSTM(2),
        ]
    )
    known = kernel_layers(model)
    assert [layer.name for layer in known.values()] == [model.layers[1].name]
