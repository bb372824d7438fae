import keras
import numpy as np
import pytest

from keras_ext.explain import Explainer
from keras_ext.explain._feature_names import named_elements
from keras_ext.explain._inputs import Inputs
from keras_ext.explain.plots import sequence
from tests.explain.models import normal, two_inputs


def sequences():
    layers = [keras.Input((2, 3)), keras.layers.Flatten(), keras.layers.Dense(1)]
    return Inputs(keras.Sequential(layers), normal(2, 2, 3))


def test_names_of_the_last_axis_stand_at_every_step():
    names, last = named_elements(sequences(), ["a", "b", "c"])
    assert names == ["a[0]", "b[0]", "c[0]", "a[1]", "b[1]", "c[1]"]
    assert last == ["a", "b", "c"]
    assert named_elements(sequences(), list("uvwxyz")) == (list("uvwxyz"), None)
    image = Inputs(keras.Sequential([keras.Input((1, 2, 2))]), normal(1, 1, 2, 2))
    names, _ = named_elements(image, ["red", "blue"])
    assert names == ["red[0,0]", "blue[0,0]", "red[0,1]", "blue[0,1]"]


def test_several_inputs_are_named_by_input():
    x = {"number": normal(2, 2), "tokens": np.zeros((2, 3), int)}
    inputs = Inputs(two_inputs(), x)
    names, _ = named_elements(inputs, {"number": ["age", "fare"]})
    assert names == ["age", "fare", "tokens[0]", "tokens[1]", "tokens[2]"]
    with pytest.raises(ValueError, match="`feature_names` must be for some of the inp"):
        named_elements(inputs, {"numbers": ["age", "fare"]})
    with pytest.raises(ValueError, match=r"`feature_names` must be 2 names"):
        named_elements(inputs, {"number": ["age"]})


def test_as_many_names_as_elements():
    expected = "`feature_names` must be 6 names, .*, or 3 for its last axis"
    with pytest.raises(ValueError, match=expected):
        named_elements(sequences(), ["a", "b"])


def test_explanations_have_them_and_pictures_show_them():
    layers = [keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(1)]
    model, x, names = keras.Sequential(layers), normal(6, 5, 3), ["wind", "rain", "$"]
    found = Explainer(model, x[:3], method="deep", feature_names=names)(x)
    assert found.feature_names[2, 4].tolist() == names
    assert found[1:, 3].feature_names[0].tolist() == names
    for part in (found, found[2:4]):
        ticks = sequence(part).axes[1].get_yticklabels()
        assert [tick.get_text() for tick in ticks] == ["wind", "rain", "\\$"]
    assert found[0, :, 1].feature_names.tolist() == ["rain"] * 5
    groups = np.arange(15).reshape(5, 3) // 3
    by_step = Explainer(model, x[:3], groups=groups, feature_names=names)(x[:1])
    assert list(by_step.feature_names) == [f"group {i}" for i in range(5)]
