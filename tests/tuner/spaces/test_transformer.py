"""Transformers, and how many parameters they have."""

import keras
import keras_tuner
import numpy as np
import pytest

from keras_ext.tuner.spaces import transformer
from tests.thorough import thorough_but

INPUTS = [
    {"input_shape": (6,), "vocabulary": 11},
    {"input_shape": (6, 2)},
    {"input_shape": (4, 6, 2), "patch_size": 2},
]


@pytest.mark.parametrize("seed", thorough_but(range(3), range(15)))
def test_parameters_are_within_the_budget_and_counted_right(seed, drawn, num_trained):
    given = INPUTS[seed % 3]
    space = transformer(
        outputs=3,
        depth=(1, 2),
        parameter_budget=3000,
        norm_first=[False, True],
        normalization=["none", "layer", "rms"],
        **given,
    )
    hp = drawn(space, seed)
    model, values = space(hp), space._read(hp)
    (width,) = space.widths(hp)
    heads = values["heads"]
    assert width % heads == 0
    assert space._count(values, [width]) == num_trained(model) <= 3000
    assert space._count(values, [width + heads]) > 3000
    assert model(np.ones((2, *given["input_shape"]))).shape == (2, 3)


@pytest.mark.parametrize("normalization", ["none", "layer"])
def test_the_place_of_normalization_is_asked_for_where_there_is_some(normalization):
    kinds, places = ["none", "layer"], [False, True]
    space = transformer((4, 2), 1, normalization=kinds, norm_first=places)
    hp = keras_tuner.HyperParameters()
    hp.values = {"transformer/normalization": normalization}
    asked = space._read(hp)["norm_first"] is not None
    assert asked == (normalization != "none")


def test_the_order_of_steps_counts_and_it_is_copied_by_its_config():
    space = transformer((4, 2), 1, depth=1, heads=2, width=8, dropout="none")
    model = space(keras_tuner.HyperParameters())
    x = np.random.default_rng(0).normal(size=(1, 4, 2)).astype("float32")
    assert abs(float(model(x)[0, 0] - model(x[:, ::-1])[0, 0])) > 1e-5
    copied = keras.Model.from_config(model.get_config())
    copied.set_weights(model.get_weights())
    np.testing.assert_allclose(copied(x), model(x), rtol=1e-6)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`patch_size` must be a divisor"):
        transformer((4, 6, 2), 3, patch_size=4)
    with pytest.raises(ValueError, match="`vocabulary` must be None, with patches"):
        transformer((4, 6, 2), 3, patch_size=2, vocabulary=5)
    with pytest.raises(ValueError, match="`heads` must be a list of integers >= 1"):
        transformer((4, 2), 3, heads=[0])
