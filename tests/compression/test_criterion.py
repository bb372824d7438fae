import keras
import numpy as np
import pytest

from keras_ext.compression import ConstantSparsity, Prune, prune

layers = keras.layers
RNG = np.random.default_rng(0)
# Inputs of which the first ones are large, with weights that are all alike.
X = (RNG.normal(size=(64, 8)) * np.geomspace(8, 0.01, 8)).astype("float32")


def make_model():
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(4, name="dense"), layers.Dense(1, name="end")]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    kernel = RNG.uniform(0.9, 1.1, (8, 4)) * RNG.choice([-1, 1], (8, 4))
    model.layers[0].kernel.assign(kernel)
    return model


def kept(model):
    return (np.array(model.get_layer("dense").kernel) != 0).mean(axis=1)


def test_keeps_what_is_multiplied_with_large_inputs():
    model = make_model()
    report = prune(model, 0.5, criterion="activation", x=X, exclude="end")
    np.testing.assert_array_equal(kept(model), [1, 1, 1, 1, 0, 0, 0, 0])
    assert report.sparsity == 0.5


def test_measures_while_it_trains():
    model = make_model()
    schedule = ConstantSparsity(0.5, begin_step=1, frequency=2)
    callback = Prune(schedule, criterion="activation", exclude="end", verbose=0)
    model.fit(X, X[:, :1], epochs=2, callbacks=[callback], verbose=0)
    np.testing.assert_array_equal(kept(model), [1, 1, 1, 1, 0, 0, 0, 0])


def test_says_of_which_weights_the_inputs_are_not_known():
    inputs = keras.Input((5, 3))
    x = layers.LSTM(4, name="lstm")(inputs)
    model = keras.Model(inputs, layers.Dense(4, name="dense")(x))
    report = prune(model, 0.5, criterion="activation", x=np.ones((2, 5, 3)))
    reasons = set(report.skipped.values())
    assert reasons == {"what its entries are multiplied with is not known"}
    assert len(report.skipped) == 2
    with pytest.raises(ValueError, match="`x` must be rows for the model with"):
        prune(model, 0.5, criterion="activation")
