import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.explain import Explainer, split_at

X = np.random.default_rng(0).normal(size=(30, 4)).astype("float32")


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((4,), name="b")}
    hidden = keras.layers.Add(name="meet")(
        [keras.layers.Dense(3, "tanh", name="left")(inputs["a"]), inputs["b"][:, :3]]
    )
    outputs = {
        "y": keras.layers.Dense(1, name="y")(hidden),
        "z": keras.layers.Dense(2, "softmax", name="z")(hidden),
    }
    return keras.Model(inputs, outputs)


def test_the_parts_are_the_model(model):
    rows = {"a": X, "b": X[::-1]}
    first, second = split_at(model, "meet")
    found, expected = second(first(rows)), model(rows)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])
    weights = [id(v) for part in (first, second) for v in part.weights]
    assert sorted(weights) == sorted(id(v) for v in model.weights)


def test_a_linear_head_is_explained_in_closed_form():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, "relu"),
            keras.layers.Dense(1, name="head"),
        ]
    )
    first, second = split_at(model, model.layers[0])
    hidden = first.predict(X, verbose=0)
    kernel = model.layers[1].kernel.numpy()[:, 0]
    expected = (hidden - hidden.mean(axis=0)) * kernel
    for method in ("exact", "deep", "expected_gradients"):
        values = Explainer(second, hidden, method=method)(hidden).values
        np.testing.assert_allclose(values, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("left", "all that reaches the output.*layer='left'.*residual"),
        ("lft", r"one of \['a', 'b',.*Received: layer='lft'"),
    ],
)
def test_layers_that_split_nothing(model, layer, message):
    with pytest.raises(ValueError, match=message):
        split_at(model, layer)


def test_a_layer_that_is_called_twice():
    shared = keras.layers.Dense(4, name="shared")
    x = keras.Input((4,))
    model = keras.Model(x, shared(shared(x)))
    with pytest.raises(ValueError, match="called once.*layer='shared'"):
        kx.explain.split_at(model, shared)
