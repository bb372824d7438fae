import keras
import numpy as np
import pytest

from keras_ext._live.places._losses import of_losses

X = np.ones((2, 1), "float32")


def two_outputs(loss_weights):
    x = keras.Input((1,))
    outputs = {
        name: keras.layers.Dense(1, kernel_initializer="zeros", name=name)(x)
        for name in ("a", "b")
    }
    model = keras.Model(x, outputs)
    losses = {"a": "mse", "b": "mse"}
    model.compile("sgd", losses, loss_weights=loss_weights, run_eagerly=True)
    return model


def test_smoothing_that_is_put_there_is_that_of_the_loss():
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss)
    (found,) = of_losses(model)
    assert (found.path, found.value) == ("loss/label_smoothing", 0.0)
    for place in found.places:
        place(0.5)
    # Logits of 4 and labels of 0.75: the loss is log(1 + exp(-4)) + 4 * 0.25.
    value = float(loss(X, 4.0 * X))
    assert value == pytest.approx(np.log1p(np.exp(-4.0)) + 1.0, rel=1e-5)
    assert loss.get_config()["label_smoothing"] == 0.5


def test_weights_of_losses_change_those_of_a_model_in_use():
    model = two_outputs({"a": 1.0, "b": 2.0})
    y = {"a": X, "b": 3.0 * X}
    assert model.evaluate(X, y, verbose=0)[0] == pytest.approx(1.0 + 2.0 * 9.0)
    found = {h.path: h for h in of_losses(model)}
    assert list(found) == ["loss_weights/a", "loss_weights/b"]
    found["loss_weights/b"].places[0](0.5)
    assert model.evaluate(X, y, verbose=0)[0] == pytest.approx(1.0 + 0.5 * 9.0)


def test_one_weight_for_all_has_a_path_too():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", loss_weights=3.0)
    assert [(h.path, h.value) for h in of_losses(model)] == [("loss/weight", 3.0)]
    assert list(of_losses(two_outputs(None))) == []
    assert list(of_losses(keras.Model())) == []
