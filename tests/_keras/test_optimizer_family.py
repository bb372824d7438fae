import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext._keras import _replica
from keras_ext._keras._optimizer_family import (
    batches_per_update,
    build_optimizer,
    innermost_optimizers,
    optimizer_family,
    sole_innermost,
    stepping_optimizer,
    updates_so_far,
)


def test_each_that_steps_or_delegates_is_found_once():
    sgd = keras.optimizers.SGD(0.1)
    scaling = keras.optimizers.LossScaleOptimizer(sgd)
    pipeline = kx.optimizers.GradientPipeline(scaling)
    found = optimizer_family(pipeline)
    assert found[0] is pipeline
    assert {id(x) for x in found} == {id(pipeline), id(scaling), id(sgd)}
    assert len(found) == 3
    assert optimizer_family(sgd) == [sgd]


def test_an_optimizer_is_built_once_where_the_weights_are(strategies):
    with strategies(2).scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(None, "mse")
        build_optimizer(model)  # there is none
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    for _ in range(2):
        build_optimizer(model)
        assert len(model.optimizer.variables) == 4
    assert len(_replica.parts(model.optimizer.variables[-1])) == 2


def test_the_one_that_steps_delegates_to_no_other():
    sgd = keras.optimizers.SGD(0.1)
    scaling = keras.optimizers.LossScaleOptimizer(sgd)
    assert stepping_optimizer(kx.optimizers.GradientPipeline(scaling)) is sgd
    assert stepping_optimizer(sgd) is sgd
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("MultiOptimizer is new in Keras 3.15")
    adam = keras.optimizers.Adam()
    several = keras.optimizers.MultiOptimizer({"a": sgd, ".*": adam})
    assert {id(x) for x in innermost_optimizers(several)} == {id(sgd), id(adam)}
    with pytest.raises(ValueError, match="one with a single learning rate"):
        stepping_optimizer(several)
    assert sole_innermost(several) is None
    assert sole_innermost(scaling) is sgd


@pytest.mark.parametrize(
    ("make", "batches"),
    [
        (keras.optimizers.SGD, 1),
        (lambda: keras.optimizers.SGD(gradient_accumulation_steps=3), 3),
        (lambda: kx.optimizers.GradientPipeline("sgd", accumulation_steps=4), 4),
        (
            lambda: kx.optimizers.Lookahead(
                kx.optimizers.GradientPipeline("sgd", accumulation_steps=4)
            ),
            4,
        ),
    ],
    ids=["plain", "Keras", "pipeline", "wrapped"],
)
def test_updates_are_fewer_than_batches(make, batches):
    weight = keras.Variable(np.zeros(2, "float32"))
    optimizer = make()
    assert batches_per_update(optimizer) == batches
    moves = 0
    for _ in range(12):
        before = np.array(weight)
        optimizer.apply([keras.ops.ones(2)], [weight])
        moves += np.any(np.array(weight) != before)
    assert updates_so_far(optimizer) == moves == 12 // batches
