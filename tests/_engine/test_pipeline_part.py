"""What every part of a pipeline has. Patterns: see `test_gradient_transform.py`."""

import keras
import pytest

import keras_ext as kx
from keras_ext._engine._pipeline_part import PipelinePart

WEIGHTS = [keras.Variable([0.0], name=name) for name in ("kernel", "bias")]


@pytest.mark.parametrize(
    ("selection", "name"),
    [
        ({"include": "kernl"}, "include"),
        ({"include": ["hiden", "rest"]}, "include"),
        ({"exclude": ""}, "exclude"),
        ({"include": "bias", "exclude": "bias"}, "include"),
        ({"include": lambda v: False}, "include"),
    ],
)
def test_a_selection_of_nothing_is_an_error(selection, name):
    message = rf"`{name}` must be such that some weight is left of \['kernel', 'bias'\]"
    with pytest.raises(ValueError, match=message):
        PipelinePart(**selection).build(WEIGHTS, {})
    PipelinePart(exclude="kernel").build(WEIGHTS, {})


def test_has_a_name_a_config_and_the_live_values_as_state():
    clip = kx.gradients.ClipUpdateRMS(0.5, include="kernel")
    assert clip.name == "clip_update_rms"
    assert PipelinePart(include="a", exclude="b").get_config() == {
        "include": "a",
        "exclude": "b",
    }
    clip.build(WEIGHTS, {})
    (limit,) = clip.hyper_variables
    assert [v is limit.build() for v in clip.state] == [True]


def test_in_fit_it_is_found_before_anything_happens():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    before = model.get_weights()
    clip = kx.callbacks.LayerwiseAdaptiveClipping(include="hiden")
    x = keras.ops.ones((4, 2))
    with pytest.raises(ValueError, match="`include` must be such that some weight"):
        model.fit(x, x[:, :1], callbacks=[clip], verbose=0)
    assert type(model.optimizer) is keras.optimizers.SGD
    assert (model.get_weights()[0] == before[0]).all()
    assert "_keras_ext_scope" not in vars(model)
