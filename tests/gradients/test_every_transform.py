"""What every gradient transform must do, whatever it computes."""

import copy
import itertools
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.optimizers import GradientPipeline, unit_axes
from tests.cases import TRANSFORMS, matrix, mechanism, parameters

# Their subclasses are tested.
ABSTRACT = {"AfterUpdate", "ClipByGroupNorm", "GradientTransform"}
ABSTRACT |= {"UpdateGate", "UpdateScale"}
every_transform = pytest.mark.parametrize("case", parameters(TRANSFORMS))
every_mechanism = pytest.mark.parametrize("case", matrix(TRANSFORMS))


def every_transform_that(*traits):
    """Those whose case has all of these traits."""
    return pytest.mark.parametrize("case", parameters(TRANSFORMS, *traits))


def test_the_table_has_every_transform():
    assert set(TRANSFORMS) == set(kx.gradients.__all__) - ABSTRACT
    for name, cases in TRANSFORMS.items():
        assert all(type(case.make()).__name__ == name for case in cases)


def test_every_mechanism_has_one_representative():
    model, mechanisms, represented = make_model(), set(), []
    for case in itertools.chain(*TRANSFORMS.values()):
        transform = case.make()
        transform.build(model.trainable_variables, unit_axes(model))
        mechanisms.add(mechanism(transform))
        if case.representative:
            represented.append(mechanism(transform))
    assert sorted(represented) == sorted(mechanisms)


def make_model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(4, bias_initializer="normal", name="hidden"),
            keras.layers.Dense(2, bias_initializer="normal", name="head"),
        ]
    )


def stream(model, updates=12):
    """Gradients of every update: random ones, one spike, one weight that rests."""
    rng = np.random.default_rng(0)
    gradients = [
        [rng.normal(size=v.shape, scale=0.3) for v in model.trainable_variables]
        for _ in range(updates)
    ]
    gradients[4][0] *= 0.0
    gradients[7] = [100.0 * g for g in gradients[7]]
    return [[np.float32(g) for g in some] for some in gradients]


def compiled(model, transforms, strategy=None, **function_options):
    """The model with the transforms in its optimizer, and a step that applies them."""
    model.optimizer = GradientPipeline(
        keras.optimizers.SGD(0.1, momentum=0.9),
        transforms=transforms,
        unit_axes=unit_axes(model),
    )
    model.optimizer.build(model.trainable_variables)
    return model, step_of(model, strategy, **function_options)


def step_of(model, strategy=None, **function_options):
    strategy = strategy or tf.distribute.get_strategy()
    # Unequal shares, so that what is done before the sum would show.
    shares = {1: [1.0], 2: [0.25, 0.75]}[strategy.num_replicas_in_sync]

    @tf.function(autograph=False, **function_options)
    def step(*gradients):
        def apply():
            context = tf.distribute.get_replica_context()
            share = tf.gather(shares, context.replica_id_in_sync_group)
            model.optimizer.apply(
                [share * g for g in gradients], model.trainable_variables
            )

        strategy.run(apply)

    return step


def train(model, step, gradients=None):
    for some in stream(model) if gradients is None else gradients:
        step(*map(tf.constant, some))
    return weights(model)


def eagerly(model, updates=8):
    """The weights after that, without a step that is traced."""
    for some in stream(model, updates):
        gradients = [tf.constant(g) for g in some]
        model.optimizer.apply(gradients, model.trainable_variables)
    return weights(model)


def weights(model):
    return [v.numpy() for v in model.trainable_variables]


def assert_close(actual, expected, **tolerance):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, **{"rtol": 1e-5, "atol": 1e-6, **tolerance})


def state_of(model):
    return [v.numpy() for v in model.optimizer.own_variables]


@cache
def traced(case):
    """A model with the transform, or without any for None, and its step.

    It begins anew each time it is used, by `anew`.
    """
    model, step = compiled(make_model(), [case.make()] if case else [])
    variables = [*model.variables, *model.optimizer.variables]
    return model, step, [(v, keras.ops.convert_to_numpy(v).copy()) for v in variables]


def anew(case):
    model, step, start = traced(case)
    for variable, value in start:
        variable.assign(value)
    return model, step


@cache
def result(case):
    """The weights after the stream."""
    return train(*anew(case))


@cache
def up_to_the_spike():
    """The weights without any transform."""
    return eagerly(anew(None)[0])


@every_transform_that("changes_weights")
def test_does_something(case):
    pairs = zip(result(case), result(None), strict=True)
    assert max(np.abs(a - e).max() for a, e in pairs) > 1e-3


@every_mechanism
def test_gives_the_same_weights_on_one_and_two_replicas(case, strategies):
    with strategies(2).scope():
        two = compiled(make_model(), [case.make()], strategies(2))
    assert_close(train(*two), result(case))


@every_mechanism
def test_gives_the_same_weights_compiled_by_xla_and_eagerly(case):
    model, step = compiled(make_model(), [case.make()], jit_compile=True)
    assert_close(train(model, step), result(case))
    model, _ = anew(case)
    assert_close(eagerly(model, updates=12), result(case))


@every_transform
def test_config_holds_every_argument(case):
    transform = case.make(exclude="head")
    config = transform.get_config()
    restored = type(transform).from_config(copy.deepcopy(config))
    assert restored.get_config() == config
    saved = keras.saving.serialize_keras_object(transform)
    again = keras.saving.deserialize_keras_object(saved)
    assert type(again) is type(transform)
    assert again.get_config() == config


@every_mechanism
def test_a_saved_model_goes_on_as_if_it_had_not_been_saved(case, tmp_path):
    model, step = anew(case)
    gradients = stream(model)
    # Past the spike, so that there is something to remember.
    train(model, step, gradients[:9])
    before = state_of(model)
    # Saved by `compile`, loaded by `load_model`.
    model.compile(model.optimizer, "mse")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for a, e in zip(state_of(loaded), before, strict=True):
        np.testing.assert_array_equal(a, e)
    ahead = train(loaded, step_of(loaded), gradients[9:])
    assert_close(ahead, train(model, step, gradients[9:]), rtol=0, atol=0)


@every_transform_that("changes_weights", "leaves_others_alone")
def test_weights_that_are_not_chosen_move_as_without_it(case):
    model, _ = compiled(make_model(), [case.make(exclude="head")])
    names = [v.path.split("/")[1] for v in model.trainable_variables]
    pairs = zip(names, eagerly(model), up_to_the_spike(), strict=True)
    assert {name for name, a, e in pairs if np.any(a != e)} == {"hidden"}


@every_transform
def test_a_copy_shares_nothing_with_the_original(case):
    transform = case.make()
    copied = copy.deepcopy(transform)
    assert copied.get_config() == transform.get_config()
    model = make_model()
    for one in (transform, copied):
        one.build(model.trainable_variables, unit_axes(model))
    assert len(copied.state) == len(transform.state)
    assert not {id(v) for v in copied.state} & {id(v) for v in transform.state}


@every_transform
def test_zero_gradients_are_no_danger(case):
    """At first, all through, and before a gradient that is not zero."""
    model, step = anew(case)
    gradients = stream(model)
    zeros = [[np.zeros_like(g) for g in some] for some in gradients[:6]]
    start = weights(model)
    rested = train(model, step, zeros)
    if case.keeps_zero:
        assert_close(rested, start, rtol=0, atol=0)
    assert all(np.isfinite(w).all() for w in train(model, step, gradients))
    assert all(np.isfinite(s).all() for s in state_of(model))
    assert int(model.optimizer.nonfinite_steps) == 0


@every_transform
def test_weights_without_a_gradient_are_left_out(case):
    model, _ = anew(case)
    start = weights(model)
    # From the weight that rests to the spike.
    for gradients in stream(model)[4:8]:
        given = [tf.constant(gradients[0]), None, tf.constant(gradients[2]), None]
        model.optimizer.apply(given, model.trainable_variables)
    end = weights(model)
    for i in (1, 3):
        np.testing.assert_array_equal(end[i], start[i])
    assert all(np.isfinite(w).all() for w in end)
    assert any(np.any(end[i] != start[i]) for i in (0, 2))
