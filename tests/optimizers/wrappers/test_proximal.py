from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._live._live_value import LiveValue
from keras_ext.gradients import Freeze, LayerwiseScale, TrustRatio
from keras_ext.optimizers import (
    ADMM,
    Cautious,
    GradientPipeline,
    Lookahead,
    Mechanic,
    Proximal,
    operators,
)
from tests.optimizers.wrappers.followed import variables
from tests.thorough import TRAININGS, thorough_but

RNG = np.random.default_rng(0)
X = np.float32(RNG.normal(size=(80, 6)) * [1.0, 0.5, 2.0, 1.0, 1.0, 0.7])
Y = np.float32(X @ [2.0, 0.0, -1.0, 0.0, 0.05, 1.0] + 0.1 * RNG.normal(size=80))

# Other packages stop early in float32.
WIDE = (np.float64(X), np.float64(Y))


def fitted(optimizer, steps=400):
    """The weights of a linear regression on the whole data."""
    kernel = keras.Variable(np.zeros((6, 1), "float32"), name="kernel")
    optimizer.build([kernel])

    @tf.function(jit_compile=True)
    def train():
        for _ in tf.range(steps):
            residual = X @ kernel.value - Y[:, None]
            optimizer.apply([tf.transpose(X) @ residual / 80], [kernel])

    train()
    return np.array(kernel)[:, 0]


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "momentum": lambda: keras.optimizers.SGD(0.02, momentum=0.9),
    "nesterov": lambda: keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.02, beta_2=0.99),
    "amsgrad": lambda: keras.optimizers.Adam(0.05, beta_2=0.99, amsgrad=True),
}


@pytest.mark.parametrize(
    "name", thorough_but({"momentum", "adam"}, list(OPTIMIZERS), TRAININGS)
)
def test_ends_where_scikit_learn_does(name):
    """Whatever the step: with euclidean ones, momentum would end at 0.1 of alpha."""
    from sklearn.linear_model import Lasso

    optimizer = Proximal(OPTIMIZERS[name](), operators.L1Shrinkage(0.2))
    expected = Lasso(alpha=0.2, fit_intercept=False, tol=1e-8)
    expected = expected.fit(*WIDE).coef_
    found = fitted(optimizer)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_array_equal(found == 0, expected == 0)
    assert np.sum(found == 0) == 3


@pytest.mark.parametrize(
    "name", thorough_but({"adam"}, ["momentum", "adam"], TRAININGS)
)
def test_elastic_net_ends_where_scikit_learn_does(name):
    from sklearn.linear_model import ElasticNet

    shrink = operators.ElasticNetShrinkage(0.3, l1_ratio=0.6)
    expected = ElasticNet(alpha=0.3, l1_ratio=0.6, fit_intercept=False, tol=1e-8)
    expected = expected.fit(*WIDE).coef_
    found = fitted(Proximal(OPTIMIZERS[name](), shrink))
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.thorough(TRAININGS)
def test_groups_with_adam_end_where_they_do_with_sgd():
    """Adam's own distance, in which no closed form is known, changes no minimum."""
    shrink = operators.GroupShrinkage(0.2, per="tensor")
    sgd, adam = (fitted(Proximal(OPTIMIZERS[n](), shrink)) for n in ("sgd", "adam"))
    np.testing.assert_allclose(adam, sgd, atol=5e-4)
    assert np.linalg.norm(sgd) > 1


@pytest.mark.thorough(TRAININGS)
def test_every_so_often_ends_near_by():
    rare = Proximal(OPTIMIZERS["sgd"](), operators.L1Shrinkage(0.2), every=4)
    always = Proximal(OPTIMIZERS["sgd"](), operators.L1Shrinkage(0.2))
    np.testing.assert_allclose(fitted(rare), fitted(always), atol=0.2)


def test_every_so_often_and_kernels_alone():
    kernel, bias = variables()
    rare = Proximal("sgd", operators.BoxProjection(0.0), every=3)
    for step in range(1, 4):
        rare.apply([tf.zeros((4, 3)), tf.zeros(3)], [kernel, bias])
        assert bool(np.any(np.array(kernel) < 0)) == (step < 3)
    assert np.any(np.array(bias) < 0)  # no kernel


def test_no_step_without_an_update():
    kernel, bias = variables()
    pipeline = GradientPipeline("sgd", accumulation_steps=2)
    optimizer = Proximal(pipeline, operators.BoxProjection(0.0))
    gradients = [tf.zeros((4, 3)), tf.zeros(3)]
    for has_update in (False, True):
        optimizer.apply(gradients, [kernel, bias])
        assert bool(np.any(np.array(kernel) < 0)) != has_update
    kernel.assign(-tf.ones((4, 3)))
    for _ in range(2):
        optimizer.apply([np.nan * g for g in gradients], [kernel, bias])
    np.testing.assert_array_equal(kernel, -tf.ones((4, 3)))


@pytest.mark.parametrize("around", [Lookahead, ADMM])
def test_weights_that_are_shown_and_not_trained_are_refused(around):
    more = () if around is Lookahead else (operators.L1Shrinkage(),)
    inner = around(keras.optimizers.SGD(0.1), *more)
    with pytest.raises(ValueError, match="one that shows the weights it trains"):
        Proximal(inner, operators.L1Shrinkage())


def test_a_step_that_is_not_known_is_refused():
    for optimizer, operator in (
        ("lion", operators.L1Shrinkage()),
        ("adam", operators.NuclearShrinkage()),
    ):
        with pytest.raises(ValueError, match='`metric` must be "euclidean" for'):
            Proximal(optimizer, operator)
        Proximal(optimizer, operator, metric="euclidean")


@pytest.mark.parametrize(
    ("inner", "name", "values", "steps"),
    [
        (keras.optimizers.SGD(1.0, momentum=0.5), "momentum", (0.5, 0.75), (2.0, 4.0)),
        (
            keras.optimizers.Adam(1.0, beta_2=0.75, epsilon=1.0),
            "beta_2",
            (0.75, 0.5),
            (0.5, 0.75**0.5),
        ),
    ],
    ids=["momentum", "beta_2"],
)
def test_a_compiled_step_follows_what_moves_while_training(inner, name, values, steps):
    live = LiveValue(values[0], name)
    live.build()
    live.stand_in(partial(setattr, inner, name))
    optimizer = Proximal(inner, operators.L1Shrinkage(1.0))
    kernel = keras.Variable([[9.0]], name="kernel")
    optimizer.build([kernel])
    train = tf.function(lambda: optimizer.apply([tf.zeros((1, 1))], [kernel]))
    for value, step in zip(values, steps, strict=True):
        before = np.array(kernel)
        live.assign(value)
        train()
        np.testing.assert_allclose(before - kernel, [[step]], rtol=1e-5)


@pytest.mark.parametrize("around", [Cautious, Mechanic])
@pytest.mark.parametrize("applied", [Proximal, ADMM])
def test_what_changes_moves_has_to_be_within(around, applied):
    """A mask of the moves of a projection made weights of 1600 in a box of 0.1."""
    box = operators.BoxProjection(-0.1, 0.1)
    with pytest.raises(ValueError, match="must be one that only moves weights, for"):
        around(applied("sgd", box))
    options = {"metric": "euclidean"} if applied is Proximal else {}
    applied(around("sgd"), box, **options)


@pytest.mark.parametrize(
    "scaled",
    [
        lambda sgd: Mechanic(sgd),
        lambda sgd: GradientPipeline(sgd, [LayerwiseScale({"kernel": 0.1})]),
    ],
    ids=["Mechanic", "LayerwiseScale"],
)
def test_the_length_of_steps_that_are_scaled_afterwards_is_not_known(scaled):
    """The lasso ended at 0.62 in place of 0.95 where steps were a tenth as long."""
    inner = scaled(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match='`metric` must be "euclidean" for'):
        Proximal(inner, operators.L1Shrinkage())
    Proximal(Cautious("sgd"), operators.L1Shrinkage())


def test_an_operator_has_the_last_word_on_weights_that_rest_or_not():
    kernel = keras.Variable([[0.1, 0.1]], name="kernel")
    rest = Freeze(frozen=False)
    box = Proximal("sgd", operators.BoxProjection(-0.1, 0.1))
    optimizer = GradientPipeline(box, [rest])
    gradient = tf.constant([[-9.0, 9.0]])
    optimizer.apply([gradient], [kernel])
    np.testing.assert_allclose(kernel, [[0.1, 0.01]], atol=1e-6)
    rest.freeze()
    optimizer.apply([-gradient], [kernel])
    np.testing.assert_allclose(kernel, [[0.1, 0.01]], atol=1e-6)


@pytest.mark.parametrize("part", [TrustRatio(), LayerwiseScale({"kernel": 0.1})])
def test_a_part_that_scales_moves_has_to_be_within(part):
    """A trust ratio left the set by far, and no zero was one."""
    kernel = keras.Variable([[3.0, 4.0]], name="kernel")
    operator = operators.L1Shrinkage(1.0)
    around = GradientPipeline(Proximal("sgd", operator), [part])
    with pytest.raises(ValueError, match="Put it around the GradientPipeline"):
        around.build([kernel])
    within = Proximal(GradientPipeline("sgd", [part]), operator, metric="euclidean")
    within.apply([tf.zeros((1, 2))], [kernel])
    np.testing.assert_allclose(kernel, [[2.99, 3.99]], atol=1e-6)
