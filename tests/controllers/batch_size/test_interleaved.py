import re

import pytest

from keras_ext.controllers.batch_size import Interleaved, Measured


def test_goes_through_the_cycle_over_and_over():
    policy = Interleaved([(1, 2), (8, 1), (2, 1)])
    found = [policy.update(Measured(8, 8, epoch=5)) for _ in range(9)]
    assert found == [8, 8, 64, 16, 8, 8, 64, 16, 8]
    assert policy.largest_factor == 8


@pytest.mark.parametrize("cycle", [[], None, [(1,)], [(0, 1)], [(1, 0)], [(1, 2.0)]])
def test_rejects_what_is_no_cycle(cycle):
    message = (
        "`cycle` must be a list of (factor, times), both integers >= 1. "
        f"Received: cycle={cycle!r}."
    )
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        Interleaved(cycle)
