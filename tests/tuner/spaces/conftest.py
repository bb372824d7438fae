"""Configurations at random, and numbers of parameters that were counted."""

import keras_tuner
import numpy as np
import pytest


@pytest.fixture
def drawn():
    """Returns a function from a space and a seed to values of all that is active."""

    def drawn(space, seed, **values):
        declared = keras_tuner.HyperParameters()
        space.declare(declared)
        rng = np.random.default_rng(seed)
        found = keras_tuner.HyperParameters()
        for hp in declared.space:
            found.merge([hp])
            if found.is_active(hp):
                found.values[hp.name] = hp.prob_to_value(rng.random())
                found.values[hp.name] = values.get(hp.name, found.values[hp.name])
        return found

    return drawn


@pytest.fixture
def num_trained():
    """Returns a function that counts the trainable numbers of a model."""

    def num_trained(model):
        return sum(int(np.prod(w.shape)) for w in model.trainable_weights)

    return num_trained
