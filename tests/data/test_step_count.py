"""A number that changes, where Keras expects an integer."""

import copy
import json
import pickle
from types import SimpleNamespace

import pytest

from keras_ext.data._step_count import StepCount, leave_plain_steps


class Counted:
    """What counts the steps: 13 now, and never more than 100."""

    most = 100
    now = 13

    def count(self):
        return self.now


@pytest.fixture
def steps():
    return StepCount(Counted())


def test_it_is_the_number_of_the_moment(steps):
    assert (steps == 13, steps > 12, steps <= 14, 12 < steps < 14) == (True,) * 4
    steps.draws.now = 7
    assert (steps == 7, steps < 13, hash(steps) == hash(7)) == (True,) * 3
    assert (int(steps), float(steps), f"{steps}") == (7, 7.0, "7")


def test_it_counts_like_an_integer(steps):
    assert (steps + 1, 1 + steps, steps - 1, 14 - steps) == (14, 14, 12, 1)
    assert (steps * 2, 2 * steps, steps / 2, 26 / steps) == (26, 26, 6.5, 2)
    assert steps // 2 == 6


def test_a_range_of_it_is_long_enough_for_all_that_may_come(steps):
    assert len(range(steps)) == 100
    steps.draws.now = 0
    assert steps  # Keras takes 0 for a number that is not known.


def test_a_copy_is_a_plain_number(steps):
    for copied in (copy.deepcopy(steps), pickle.loads(pickle.dumps(steps))):
        assert type(copied) is int
        assert copied == 13


def test_a_fit_leaves_a_plain_number(steps):
    model = SimpleNamespace(
        history=SimpleNamespace(params={"steps": steps, "epochs": 2})
    )
    leave_plain_steps(model)
    assert json.dumps(model.history.params) == '{"steps": 13, "epochs": 2}'
    # Nor is anything done to what is not of ours.
    leave_plain_steps(SimpleNamespace())
    other = SimpleNamespace(history=SimpleNamespace(params={"steps": None}))
    leave_plain_steps(other)
    assert other.history.params == {"steps": None}
