import keras
import pytest

import keras_ext as kx
from keras_ext._keras._optimizer_family import optimizer_family, stepping_optimizer


def test_each_that_steps_or_delegates_is_found_once():
    sgd = keras.optimizers.SGD(0.1)
    scaling = keras.optimizers.LossScaleOptimizer(sgd)
    pipeline = kx.optimizers.GradientPipeline(scaling)
    found = optimizer_family(pipeline)
    assert found[0] is pipeline
    assert {id(x) for x in found} == {id(pipeline), id(scaling), id(sgd)}
    assert len(found) == 3
    assert optimizer_family(sgd) == [sgd]


def test_the_one_that_steps_delegates_to_no_other():
    sgd = keras.optimizers.SGD(0.1)
    scaling = keras.optimizers.LossScaleOptimizer(sgd)
    assert stepping_optimizer(kx.optimizers.GradientPipeline(scaling)) is sgd
    assert stepping_optimizer(sgd) is sgd
    several = keras.optimizers.MultiOptimizer({"a": sgd, ".*": keras.optimizers.Adam()})
    with pytest.raises(ValueError, match="one with a single learning rate"):
        stepping_optimizer(several)
