from types import SimpleNamespace

import pytest

from keras_ext.callbacks.regularization._rules._by_gap import ByGap
from keras_ext.callbacks.regularization._rules._regularization_rule import Sensed


class Proportional:
    """Answers with the gap itself, and notes what it was told."""

    def __init__(self):
        self.told = []

    def update(self, gap):
        self.told.append(gap)
        return gap


@pytest.fixture
def rule():
    rule = ByGap(Proportional())
    rule.begin(None, SimpleNamespace(span=1.0))
    return rule


def sensed(gap, training=1.0, validation=2.0, warming_up=False):
    return Sensed(training, validation, gap, warming_up)


def test_changes_add_up_to_one_offset_for_all(rule):
    offsets = [rule.decide(sensed(gap)).offsets for gap in (0.25, 0.5, -0.125)]
    assert offsets == [0.25, 0.75, 0.625]


def test_the_offset_ends_at_the_span(rule):
    assert rule.decide(sensed(0.75)).offsets == 0.75
    assert rule.decide(sensed(0.75)).offsets == 1.0
    # And comes back at once.
    assert rule.decide(sensed(-0.25)).offsets == 0.75
    assert rule.decide(sensed(-9.0)).offsets == -1.0


def test_while_it_warms_up_the_controller_is_not_told(rule):
    decision = rule.decide(sensed(0.5, warming_up=True))
    assert (decision.offsets, decision.reason) == (None, "warm-up")
    assert rule._controller.told == []
    assert rule.decide(sensed(0.25)).offsets == 0.25
    assert rule._controller.told == [0.25]


def test_the_guards_know_the_losses_of_the_warm_up(rule):
    rule.decide(sensed(0.0, training=1.0, validation=2.0, warming_up=True))
    decision = rule.decide(sensed(0.25, training=1.5, validation=2.0))
    assert decision.reason == "underfit"
    assert decision.offsets < 0


def test_no_increase_while_the_validation_loss_falls(rule):
    assert rule.decide(sensed(0.25, validation=2.0)).reason == "gap"
    decision = rule.decide(sensed(0.25, validation=1.0))
    assert (decision.offsets, decision.reason) == (0.25, "validation improves")
