import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext._fit._fit_scope import FitScope
from keras_ext.gradients import SkipNonFinite


@pytest.fixture
def model():
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(keras.optimizers.SGD(0.5, momentum=0.5), "mse")
    return model


@pytest.fixture
def scope(model):
    with FitScope.joining(model, "owner") as scope:
        yield scope
    scope.close()


def weight(model):
    return model.get_weights()[0].item()


def apply(pipeline, *gradients):
    for gradient in gradients:
        pipeline.apply([tf.constant([[float(gradient)]])])


def test_callbacks_share_the_one_on_the_model(model, scope):
    sgd = model.optimizer
    pipeline = AttachedPipeline.of(scope)
    assert AttachedPipeline.of(scope) is pipeline is model.optimizer
    assert pipeline.optimizer is sgd
    scope.close()
    assert model.optimizer is sgd


def test_it_does_not_go_with_updates_of_the_replicas_alone(scope):
    scope.shared["optimizer"] = "something else"
    with pytest.raises(ValueError, match="without one that needs the gradient of the"):
        AttachedPipeline.of(scope)


def test_what_several_ask_for_is_there_once(scope):
    pipeline = AttachedPipeline.of(scope)
    for _ in range(2):
        pipeline.forbid_nonfinite()
        pipeline.recover_from_nonfinite()
    # One fails at once, and one waits for a while.
    forbids, waits = pipeline.transforms
    assert isinstance(forbids, SkipNonFinite)
    assert int(forbids.max_consecutive) == 0 < int(waits.max_consecutive)
    pipeline.begin()
    apply(pipeline, np.nan)
    with pytest.raises(FloatingPointError, match="max_consecutive=0 updates"):
        pipeline.check()


def test_the_steps_may_go_as_far_as_any_of_them_asked_for(scope):
    pipeline = AttachedPipeline.of(scope)
    assert not pipeline.accumulates
    for most in (4, 8, 2):
        assert pipeline.allow_accumulation(most).bounds == (1, 8 if most != 4 else 4)
    assert pipeline.accumulates
    assert int(pipeline.accumulation_steps) == 1


def test_what_waits_is_applied_when_the_last_one_leaves(model, scope):
    pipeline = AttachedPipeline.of(scope)
    pipeline.allow_accumulation(4).assign(4)
    pipeline.begin()
    apply(pipeline, 1, 3)
    assert weight(model) == 0.0
    scope.leave("owner")
    assert weight(model) == -0.5 * 2


def test_a_training_goes_on_with_what_it_had_accumulated(model):
    def attach(model):
        with FitScope.joining(model, "owner") as scope:
            pipeline = AttachedPipeline.of(scope)
        pipeline.allow_accumulation(2).assign(2)
        assert pipeline.get_state() == {}
        pipeline.begin()
        return scope, pipeline

    scope, pipeline = attach(model)
    apply(pipeline, 1)
    state = pipeline.get_state()
    scope.close()
    scope, resumed = attach(model)
    resumed.set_state(state)
    apply(resumed, 3)
    assert weight(model) == -0.5 * 2
    scope.close()


def test_left_out_updates_are_told_once(scope):
    pipeline = AttachedPipeline.of(scope)
    pipeline.forbid_nonfinite()
    pipeline.begin()
    apply(pipeline, np.nan, 1, np.inf)
    assert [pipeline.newly_left_out() for _ in range(2)] == [2, 0]
    apply(pipeline, np.nan)
    assert pipeline.newly_left_out() == 1


def test_a_training_goes_on_with_the_count_of_recoveries(scope):
    pipeline = AttachedPipeline.of(scope)
    pipeline.recover_from_nonfinite()
    pipeline.begin()
    state = pipeline.get_state()
    pipeline.set_state({**state, "recovery": {**state["recovery"], "_count": 3}})
    assert pipeline.get_state()["recovery"]["_count"] == 3


def test_a_file_has_what_there_would_be_without_it(scope):
    pipeline, plain, with_it = AttachedPipeline.of(scope), {}, {}
    pipeline.begin()
    apply(pipeline, 1)
    pipeline.optimizer.save_own_variables(plain)
    pipeline.save_own_variables(with_it)
    assert list(with_it) == list(plain)
    for name, value in plain.items():
        np.testing.assert_array_equal(with_it[name], value)
