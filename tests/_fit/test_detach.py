import keras
import numpy as np

import keras_ext as kx
from keras_ext._fit._training_run import TrainingRun


def test_does_nothing_to_a_model_that_nothing_was_left_on():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    kx.detach(model)
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    optimizer, train_function = model.optimizer, model.train_function
    kx.detach(model)
    assert model.optimizer is optimizer
    assert model.train_function is train_function


def test_ends_what_a_loop_without_fit_has_begun():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    optimizer = model.optimizer
    clip = kx.callbacks.LayerwiseAdaptiveClipping()
    callbacks = keras.callbacks.CallbackList([clip], model=model)
    callbacks.on_train_begin()
    assert model.optimizer is not optimizer
    assert TrainingRun.present(model) is not None
    kx.detach(model)
    assert model.optimizer is optimizer
    assert TrainingRun.present(model) is None
