import numpy as np
import pytest

from keras_ext.schedules._anneal import FORMS, anneal

STEPS = np.arange(14, dtype="float32")
DONE = np.clip((np.arange(14.0) - 2) / 10, 0, 1)
LEFT = {
    "cos": (1 + np.cos(np.pi * DONE)) / 2,
    "linear": 1 - DONE,
    "1-sqrt": 1 - np.sqrt(DONE),
}


@pytest.mark.parametrize("form", FORMS)
def test_goes_from_one_value_to_the_other_and_stays(form):
    expected = 0.5 + 2.5 * LEFT[form]
    actual = anneal(STEPS, 2, 12, (3.0, 0.5), form)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_a_way_of_no_steps_is_at_its_end():
    np.testing.assert_array_equal(anneal(STEPS, 3, 3, (1.0, 0.5), "cos"), 0.5)
