import keras
import numpy as np
import pytest

from keras_ext.callbacks import HyperparameterScheduler, MomentumSchedule
from keras_ext.schedules import Sequential
from tests.callbacks.schedules.test_one_cycle import fit, followed, make_model, weight
from tests.thorough import thorough_but

FALL = keras.optimizers.schedules.PolynomialDecay(0.9, 30, 0.1)
MOMENTA = 0.9 - 0.8 * np.minimum(np.arange(40), 30) / 30


@pytest.mark.parametrize("options", thorough_but([5], [5, "eager"]))
def test_every_update_has_its_momentum(options):
    """Also within one execution of several steps."""
    eager = {"run_eagerly": True}
    options = eager if options == "eager" else {"steps_per_execution": options}
    model = make_model(**options)
    history = fit(model, MomentumSchedule(FALL))
    assert weight(model) == pytest.approx(followed([1.0] * 40, MOMENTA), rel=1e-5)
    np.testing.assert_allclose(history["momentum"][:3], MOMENTA[[10, 20, 30]], 1e-5)
    assert model.optimizer.momentum == 0.5


def test_moves_the_number_that_is_named_and_keeps_it_below_one():
    model = make_model("adam")
    schedule = MomentumSchedule(Sequential([0.5, 1.0], [15]), name="beta_2")
    assert fit(model, schedule, epochs=2)["momentum"] == [0.5, pytest.approx(0.999999)]
    assert model.optimizer.beta_2 == 0.999
    assert np.isfinite(weight(model))


def test_says_what_there_is_none_of_and_who_else_moves_it():
    model = make_model(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match=r"with momentum or beta_1.*momentum=0.9"):
        fit(model, MomentumSchedule(FALL))
    with pytest.raises(ValueError, match="`schedule` must be a keras.optimizers.sched"):
        MomentumSchedule(lambda step: 0.9)
    model = make_model()
    other = HyperparameterScheduler({"momentum": [(0, 0.5)]})
    with pytest.raises(ValueError, match="one of them moves 'optimizer/momentum'"):
        fit(model, MomentumSchedule(FALL), other)
