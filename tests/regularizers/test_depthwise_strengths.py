"""Strengths by depth."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_ext as kx
from keras_ext.regularizers import DepthwiseStrengths, GroupLasso


def make_model():
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="b"), layers.ReLU()], name="inner"
    )
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, name="a"),
            layers.BatchNormalization(name="norm"),
            inner,
            layers.Dense(4, name="c"),
        ],
        name="model",
    )


def test_linear_and_geometric_rules():
    strengths = DepthwiseStrengths(0.0, 1.0, rule="linear").strengths(make_model())
    assert list(strengths.values()) == [0.0, 0.0, 0.5, 1.0]
    assert strengths["norm"] == strengths["a"]
    strengths = DepthwiseStrengths(1.0, 0.01).strengths(make_model())
    assert list(strengths.values()) == [1.0, 1.0, 0.1, 0.01]


def test_one_layer_has_the_last_strength():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="a")])
    assert DepthwiseStrengths(0.0, 0.5, rule="linear").strengths(model) == {"a": 0.5}


def test_attaches_a_live_strength_to_each_layer():
    model = make_model()
    attached = DepthwiseStrengths(1.0, 0.01).attach(model)
    assert [float(r.l2) for r in attached.values()] == [1.0, 0.1, 0.01]
    kernels = [v for v in model.trainable_variables if v.name == "kernel"]
    expected = [
        s * np.sum(np.asarray(k) ** 2)
        for s, k in zip([1.0, 0.1, 0.01], kernels, strict=True)
    ]
    np.testing.assert_allclose(model.losses, expected, rtol=1e-5)
    found = kx.hyper_variables(model)
    assert len(found) == 3
    for regularizer in attached.values():
        regularizer.l2 = 0.0
    np.testing.assert_array_equal(model.losses, [0, 0, 0])


def test_takes_any_regularizer_and_any_weights():
    model = make_model()
    attached = DepthwiseStrengths(1.0, 0.01).attach(
        model, lambda s: GroupLasso(s, per="input"), include="gamma|bias"
    )
    assert len(attached) == 4
    assert len(model.losses) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "cosine"}, '`rule` must be "linear" or "geometric"'),
        ({"first": -1.0}, "`first` must be a number > 0"),
        ({"last": 0.0}, "`last` must be a number > 0"),
        ({"last": -1.0, "rule": "linear"}, "`last` must be a number >= 0"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DepthwiseStrengths(**{"first": 0.1, "last": 0.1, **arguments})


def test_rejects_a_regularizer_that_is_made_already():
    with pytest.raises(ValueError, match="`regularizer` must be a function"):
        DepthwiseStrengths(0.1, 0.1).attach(make_model(), "l2")
