import keras
import numpy as np

import keras_ext as kx


def test_does_nothing_to_a_model_that_nothing_was_left_on():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    kx.detach(model)
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    optimizer, train_function = model.optimizer, model.train_function
    kx.detach(model)
    assert model.optimizer is optimizer
    assert model.train_function is train_function
