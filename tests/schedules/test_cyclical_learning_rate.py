import keras
import numpy as np
import pytest

from keras_ext.schedules import CyclicalLearningRate


def test_functions_get_the_cycle_from_one_on_or_the_update():
    """As in TensorFlow Addons, with the arguments in its order."""
    by_cycle = CyclicalLearningRate(0.0, 1.0, 2, lambda x: x, scale_mode="cycle")
    np.testing.assert_allclose(by_cycle(np.array([2, 6, 10])), [1, 2, 3])
    by_update = CyclicalLearningRate(0.0, 1.0, 2, lambda x: x, scale_mode="iterations")
    np.testing.assert_allclose(by_update(np.array([2, 6, 10])), [2, 6, 10])


def test_half_a_cycle_may_be_no_whole_number():
    schedule = CyclicalLearningRate(0.0, 1.0, 2.5)
    np.testing.assert_allclose(schedule(np.array([0, 2, 5])), [0, 0.8, 0], atol=1e-6)


def test_keras_does_not_load_lambdas_unless_told_to():
    schedule = CyclicalLearningRate(0.0, 1.0, 2, lambda x: x)
    with pytest.warns(UserWarning, match="lambda"):
        config = keras.optimizers.SGD(schedule).get_config()
    with pytest.raises(ValueError, match="lambda"):
        keras.optimizers.SGD.from_config(config)


def test_says_what_a_scale_can_be():
    with pytest.raises(ValueError, match=r'"triangular2", "exp_range" or a function'):
        CyclicalLearningRate(0.1, 0.2, 3, scale_fn=2.0)
