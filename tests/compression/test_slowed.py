import keras
import numpy as np
import pytest

from keras_ext.compression._slowed import slowed

optimizers = keras.optimizers


@pytest.mark.parametrize("around", [lambda x: x, optimizers.LossScaleOptimizer])
def test_numbers_and_schedules_become_a_share(around):
    schedule = optimizers.schedules.CosineDecay(0.5, 10)
    for rate in (0.5, schedule):
        config = optimizers.serialize(around(optimizers.Adam(rate)))
        made = optimizers.deserialize(slowed(config, 0.1))
        # As what trains makes a new one like it.
        made = type(made).from_config(made.get_config())
        assert float(made.learning_rate) == pytest.approx(0.05)
    made.iterations.assign(5)
    inner = getattr(made, "inner_optimizer", made)
    inner.iterations.assign(5)
    np.testing.assert_allclose(inner.learning_rate, 0.025, rtol=1e-5)


def test_the_whole_rate_is_what_it_was():
    config = optimizers.serialize(optimizers.SGD(0.5))
    assert slowed(config, 1.0) is config
