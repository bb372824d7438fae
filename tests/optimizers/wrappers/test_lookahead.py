import keras
import numpy as np
import pytest

from keras_ext.optimizers import Lookahead
from tests.optimizers.wrappers.followed import FIXTURE, followed, variables


def test_follows_optax_and_shows_the_slow_weights():
    adam = keras.optimizers.Adam(0.01, epsilon=1e-12)
    optimizer, weights = Lookahead(adam, slow_step_size=0.3), variables()
    path = followed(optimizer, weights, jit_compile=True)
    np.testing.assert_allclose(path, FIXTURE["lookahead/fast"], atol=2e-6)
    fast = np.array(weights[0])
    with optimizer.evaluation_weights():
        np.testing.assert_allclose(weights[0], FIXTURE["lookahead/slow"][-1], atol=2e-6)
    np.testing.assert_array_equal(weights[0], fast)


@pytest.mark.parametrize("rule", ["reset", "pullback"])
def test_momentum_becomes_what_it_does_in_pytorch_optimizer(rule):
    sgd = keras.optimizers.SGD(0.01, momentum=0.9)
    path = followed(Lookahead(sgd, slow_step_size=0.3, momentum=rule))
    np.testing.assert_allclose(path, FIXTURE[f"lookahead/{rule}"], atol=2e-6)


def test_slow_weights_that_jump_all_the_way_change_nothing():
    made = [keras.optimizers.SGD(0.01, momentum=0.9) for _ in range(2)]
    plain, ahead = followed(made[0]), followed(Lookahead(made[1], slow_step_size=1.0))
    np.testing.assert_allclose(ahead, plain, atol=1e-6)


def test_there_has_to_be_momentum_to_reset():
    optimizer = Lookahead(keras.optimizers.SGD(0.01), momentum="reset")
    with pytest.raises(ValueError, match='`momentum` must be "keep" for an optimizer'):
        optimizer.build(variables())


def test_one_around_another_has_slow_weights_of_its_own():
    weight = keras.Variable([0.0])
    inner = Lookahead(keras.optimizers.SGD(1.0), sync_period=1)
    outer = Lookahead(inner, sync_period=1)
    outer.apply([keras.ops.array([-1.0])], [weight])
    # Half of the way of the one within, which goes half of the way to 1.
    np.testing.assert_allclose(weight, [0.25])
