import math

import pytest

from keras_ext.controllers.continuous._overfit_guards import OverfitGuards


def answers(losses, change=0.2):
    """What comes of the same wish after each pair of losses."""
    guards = OverfitGuards(min_progress=0.01, max_damage=0.05)
    return [guards.admitted(change, *pair) for pair in losses]


def test_with_nothing_to_object_the_change_is_made():
    assert answers([(1.0, 2.0), (0.9, 2.0), (0.8, 2.1)]) == 3 * [(0.2, "")]


def test_no_increase_while_the_validation_loss_falls():
    # By 2 % and by half a percent.
    assert answers([(1.0, 1.0), (1.0, 0.98)])[-1] == (0.0, "validation improves")
    assert answers([(1.0, 1.0), (1.0, 0.995)])[-1] == (0.2, "")


def test_the_fall_of_long_ago_does_not_count():
    falling = [(1.0, 9.0 - i) for i in range(6)]
    level = 4 * [(1.0, 4.0)]
    said = [reason for _, reason in answers([*falling, *level])]
    assert said[1:6] == 5 * ["validation improves"]
    assert said[-1] == ""


def test_a_training_loss_far_above_its_best_takes_the_strength_back():
    (_, ok, damage) = answers([(1.0, 2.0), (1.09, 2.0), (1.11, 2.0)])
    assert ok == (0.2, "")
    change, reason = damage
    assert change < 0
    assert reason == "underfit"


def test_less_regularization_is_always_admitted():
    falling = [(1.0, 3.0), (5.0, 2.0), (9.0, 1.0)]
    assert answers(falling, change=-0.4) == 3 * [(-0.4, "")]


@pytest.mark.parametrize("losses", [(math.nan, 1.0), (1.0, math.nan)])
def test_of_losses_that_are_not_known_nothing_is_concluded(losses):
    assert answers([losses]) == [(0.0, "")]
    assert answers([losses], change=-0.4) == [(-0.4, "")]
    # Nor are they remembered.
    assert answers([losses, (1.0, 2.0), (1.0, 2.0)])[1:] == 2 * [(0.2, "")]
