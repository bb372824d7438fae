import numpy as np
import pytest

from keras_ext.compression import PolynomialDecay
from tests.compression.tfmot import arrays


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("cubic", PolynomialDecay(0.1, 0.9, begin_step=4, end_step=44, frequency=8)),
        (
            "uneven",
            PolynomialDecay(0.0, 0.8, begin_step=0, end_step=45, power=2, frequency=10),
        ),
    ],
)
def test_steps_and_sparsities_are_those_of_tfmot(name, schedule):
    due = [bool(schedule.is_due(step)) for step in range(60)]
    np.testing.assert_array_equal(due, arrays("due/")[name])
    sparsity = [float(schedule.sparsity(step)) for step in range(60)]
    np.testing.assert_allclose(sparsity, arrays("sparsity/")[name], atol=1.2e-7)


def test_the_last_renewal_is_that_of_the_last_whole_period():
    decay = PolynomialDecay(0.0, 0.8, begin_step=0, end_step=45, frequency=10)
    assert decay.last_due == 40 == np.flatnonzero(arrays("due/")["uneven"])[-1]


def test_rejects_an_end_before_the_begin():
    message = r"`end_step` must be after begin_step=5\. Received: end_step=5\."
    with pytest.raises(ValueError, match=message):
        PolynomialDecay(0.0, 0.5, begin_step=5, end_step=5)
