import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks import LayerwiseDecay
from tests.thorough import thorough_but

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
OPTIONS = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}


def make_model(optimizer=None):
    keras.utils.set_random_seed(0)
    names = ("body", "neck", "head")
    layers = [keras.layers.Dense(3, "tanh", name=name) for name in names]
    model = keras.Sequential([keras.Input((3,)), *layers], name="model")
    model.compile(optimizer or keras.optimizers.AdamW(0.01, weight_decay=0.1), "mse")
    return model


@pytest.mark.parametrize("named", thorough_but([False], [False, True]))
def test_each_layer_moves_by_its_share(named):
    """In one update: the moves of Adam, of weights and biases, times 1/4, 1/2 and 1."""
    plain, slowed = make_model(), make_model()
    before = plain.get_weights()
    plain.fit(X[:8], X[:8], batch_size=8, verbose=0)
    layers = ["body", "neck", "head"] if named else None
    callback = LayerwiseDecay(0.5, layers=layers)
    slowed.fit(X[:8], X[:8], batch_size=8, callbacks=[callback], verbose=0)
    shares = [0.25, 0.25, 0.5, 0.5, 1.0, 1.0]
    triples = zip(before, plain.get_weights(), slowed.get_weights(), strict=True)
    for (start, fast, slow), share in zip(triples, shares, strict=True):
        expected = share * (fast - start)
        np.testing.assert_allclose(slow - start, expected, rtol=1e-3, atol=1e-7)
    assert type(slowed.optimizer) is keras.optimizers.AdamW


def test_says_what_it_needs():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"`model.built` must be True.*input shape"):
        model.fit(X, X, callbacks=[LayerwiseDecay()], **OPTIONS)
    with pytest.raises(ValueError, match=r"`decay` must be a number in \(0, 1\]"):
        kx.callbacks.LayerwiseDecay(1.5)
    with pytest.raises(ValueError, match="`layers` must be a list of regular expr"):
        LayerwiseDecay(layers="head")
