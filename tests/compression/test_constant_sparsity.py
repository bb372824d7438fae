import numpy as np
import pytest

from keras_ext.compression import ConstantSparsity
from tests.compression.tfmot import arrays


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("constant", ConstantSparsity(0.7, begin_step=3, end_step=40, frequency=5)),
        ("endless", ConstantSparsity(0.35, begin_step=0, frequency=7)),
    ],
)
def test_steps_and_sparsities_are_those_of_tfmot(name, schedule):
    due = [bool(schedule.is_due(step)) for step in range(60)]
    np.testing.assert_array_equal(due, arrays("due/")[name])
    sparsity = [float(schedule.sparsity(step)) for step in range(60)]
    np.testing.assert_array_equal(np.float32(sparsity), arrays("sparsity/")[name])


def test_rejects_what_is_no_share():
    message = r"`target_sparsity` must be a number in \[0, 1\)\. Received: .*1\.0"
    with pytest.raises(ValueError, match=message):
        ConstantSparsity(1.0, begin_step=0)
