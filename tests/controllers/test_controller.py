import math

import numpy as np
import pytest

import keras_ext as kx
from keras_ext.controllers._controller import change_by, check_controller


class Returns:
    def __init__(self, answer):
        self.answer = answer

    def update(self, measurement):
        return self.answer


def test_all_of_the_package_are_controllers():
    c = kx.controllers
    of_package = [c.PI(0.1), c.Plateau(), c.Hypergradient(), c.Bandit([0, 1])]
    of_package.append(c.PopulationBased([{"rate": 0.1}, {"rate": 0.2}]))
    assert all(isinstance(each, c.Controller) for each in of_package)
    assert not isinstance(object(), c.Controller)


@pytest.mark.parametrize("answer", [0, 0.5, np.float32(0.5), np.int64(1)])
def test_a_number_is_an_answer(answer):
    change = change_by(Returns(answer), 0.3)
    assert type(change) is float
    assert change == answer


@pytest.mark.parametrize("answer", [math.nan, math.inf, None, "more", True, [0.1]])
def test_what_is_no_number_is_an_error_that_names_the_controller(answer):
    with pytest.raises(ValueError, match=r"`Returns\.update\(0\.3\)` must be a finite"):
        change_by(Returns(answer), 0.3)


@pytest.mark.parametrize("measurement", [math.nan, math.inf])
def test_what_is_not_known_asks_for_nothing(measurement):
    assert change_by(Returns(math.nan), measurement) == 0.0


@pytest.mark.parametrize("value", [{}, set(), 1, "pi", kx.controllers.PI, object()])
def test_what_is_no_controller(value):
    with pytest.raises(ValueError, match="`controller` must be an object with a meth"):
        check_controller(value)
    assert check_controller(None) is None
