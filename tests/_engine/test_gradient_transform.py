"""What a transform of one's own gets from the base class."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import ClipUpdateRMS, GradientTransform, ZClip
from keras_ext.optimizers import GradientPipeline
from tests._engine.parts import ScaleAndCount, weights


def applied(transform, variables):
    """What is left of gradients 1, 2, 3 after one step of length 1."""
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [transform])
    gradients = [tf.fill(v.shape, i + 1.0) for i, v in enumerate(variables)]
    optimizer.apply(gradients, variables)
    return [-v.numpy().ravel()[0] for v in variables]


@pytest.mark.parametrize(
    ("kwargs", "seen", "result"),
    [
        ({}, ["kernel", "bias", "gamma"], [10, 20, 30]),
        ({"include": "a"}, ["bias", "gamma"], [1, 20, 30]),
        ({"include": ["ker", "ga"]}, ["kernel", "gamma"], [10, 2, 30]),
        ({"exclude": r"^bias$"}, ["kernel", "gamma"], [10, 2, 30]),
        ({"include": lambda v: len(v.shape) == 2}, ["kernel"], [10, 2, 3]),
        ({"exclude": lambda v: len(v.shape) == 2}, ["bias", "gamma"], [1, 20, 30]),
        ({"include": "a", "exclude": ["b", "x"]}, ["gamma"], [1, 2, 30]),
    ],
)
def test_only_the_chosen_variables_are_transformed(kwargs, seen, result):
    transform = ScaleAndCount(10.0, **kwargs)
    assert applied(transform, weights()) == result
    assert transform.seen == seen


def test_the_name_is_the_class_in_words():
    assert ScaleAndCount(1.0).name == "scale_and_count"
    assert GradientTransform().name == "gradient_transform"
    assert ClipUpdateRMS().name == "clip_update_rms"
    assert ZClip().name == "z_clip"


def test_finds_the_hyperparameters_in_attributes():
    transform = ScaleAndCount(3.0)
    assert transform.hyper_variables == [transform.factor, transform.offset]
    assert GradientTransform().hyper_variables == []


def test_building_makes_the_hyperparameters_live():
    transform = ScaleAndCount(3.0)
    assert not transform.factor.built
    transform.build([], {})
    assert transform.state == [
        transform.factor.variable,
        transform.offset.variable,
        transform.calls,
    ]


def test_state_of_its_own_is_kept_and_saved_with_the_optimizer():
    transform = ScaleAndCount(1.0)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [transform])
    variables = weights()

    @tf.function(autograph=False)
    def step():
        optimizer.apply([tf.ones(v.shape) for v in variables], variables)

    optimizer.build(variables)
    for _ in range(3):
        step()
    assert int(transform.calls) == 3
    assert any(v is transform.calls for v in optimizer.variables)
    assert any(v is transform.factor.variable for v in optimizer.variables)


def test_transforms_act_in_the_order_they_are_given():
    variable = keras.Variable(np.zeros(1), dtype="float32", name="w")
    add, double = ScaleAndCount(1.0), ScaleAndCount(2.0)
    add.offset.assign(5.0)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [add, double])
    optimizer.apply([tf.ones(1)], [variable])
    assert float(variable[0]) == -12.0


def test_axes_are_those_of_the_model_or_the_last_axis():
    transform = GradientTransform()
    conv = keras.Variable(np.zeros((2, 3, 4)), dtype="float32", name="conv")
    kernel = keras.Variable(np.zeros((2, 3, 4)), dtype="float32", name="kernel")
    optimizer = GradientPipeline("sgd", [transform], unit_axes={"conv": [0, 2]})
    optimizer.build([conv, kernel])
    assert transform.axes(conv) == (0, 2)
    assert transform.axes(kernel) == (0, 1)


def test_transform_has_to_be_overridden():
    class Forgetful(GradientTransform):
        pass

    message = r"^Forgetful must override transform\(gradients, variables\)\.$"
    with pytest.raises(NotImplementedError, match=message):
        Forgetful()([tf.ones(3)], [keras.Variable(np.zeros(3))])


def test_a_transform_that_loses_a_gradient_is_noticed():
    class Loses(GradientTransform):
        def transform(self, gradients, variables):
            return gradients[1:]

    with pytest.raises(ValueError, match="shorter"):
        Loses()([tf.ones(3)], [keras.Variable(np.zeros(3))])


EXPECTED = "a regular expression, a list of them, a function or None"


@pytest.mark.parametrize("name", ["include", "exclude"])
@pytest.mark.parametrize(
    ("pattern", "received"),
    [
        (3, "3."),
        (["kernel", 3], "['kernel', 3]."),
        ("kernel(", "'kernel('. 'kernel(' fails: "),
        (["ok", "*"], "['ok', '*']. '*' fails: nothing to repeat at position 0."),
    ],
)
def test_rejects_what_is_no_pattern(name, pattern, received):
    message = f"`{name}` must be {EXPECTED}. Received: {name}={received}"
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        GradientTransform(**{name: pattern})


def test_config_has_the_patterns():
    config = GradientTransform(include="a", exclude=["b"]).get_config()
    assert config == {"include": "a", "exclude": ["b"]}
    assert GradientTransform.from_config(config).get_config() == config


def test_check_is_called_at_the_end_of_fit():
    class Stop(GradientTransform):
        def transform(self, gradients, variables):
            return gradients

        def check(self):
            raise ArithmeticError("enough")

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(GradientPipeline("sgd", [Stop()]), "mse")
    with pytest.raises(ArithmeticError, match="enough"):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)


def test_state_may_begin_with_other_numbers_than_zero():
    class Remember(GradientTransform):
        def build(self, variables, unit_axes):
            super().build(variables, unit_axes)
            self.row = self.add_state((2,), "row", initial=[3.0, 4.0])
            self.count = self.add_state((), "count", initial=7, dtype="int32")

        def transform(self, gradients, variables):
            self.count.assign_add(1)
            return gradients

    transform = Remember()
    variable = keras.Variable([0.0], name="w")
    pipeline = GradientPipeline(keras.optimizers.SGD(1.0), [transform])

    @tf.function(autograph=False)
    def step():
        # Built while it is traced.
        pipeline.apply([tf.ones(1)], [variable])

    step()
    np.testing.assert_array_equal(transform.row.numpy(), [3.0, 4.0])
    assert int(transform.count) == 8
