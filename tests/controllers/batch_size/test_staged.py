import math
import re

import pytest

from keras_ext.controllers.batch_size import (
    AdaBatch,
    Measured,
    NoiseScale,
    Staged,
)


def factors(policy, epochs):
    return [policy.update(Measured(1, 1, epoch=epoch)) for epoch in range(epochs)]


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([(0, 3)], [3, 3, 3, 3, 3, 3]),
        ([(2, 4), (3, 16)], [1, 1, 4, 16, 16, 16]),
        ([(0, 8), (2, 1), (5, 2)], [8, 8, 1, 1, 1, 2]),
        ([(100, 2)], [1, 1, 1, 1, 1, 1]),
        (((1, 2), (4, 4)), [1, 2, 2, 2, 4, 4]),
        ([[1, 2], [4, 4]], [1, 2, 2, 2, 4, 4]),
    ],
)
def test_follows_the_stages(stages, expected):
    assert factors(Staged(stages), 6) == expected


def test_depends_on_the_epoch_alone():
    policy = Staged([(2, 4), (5, 8)])
    # A training that is resumed in epoch 6, and one that starts again.
    assert policy.update(Measured(7, 2, epoch=6)) == 16
    assert policy.update(Measured(7, 2, epoch=0)) == 2
    assert policy.update(Measured(7, 2, epoch=3, signal=1.0, noise=1e9)) == 8


def test_knows_its_largest_factor():
    assert Staged([(0, 8), (2, 16), (5, 2)]).largest_factor == 16
    assert Staged([(0, 8), (2, NoiseScale())]).largest_factor == math.inf


def test_hands_over_to_another_policy():
    policy = Staged([(0, 2), (1, NoiseScale()), (9, AdaBatch(every_epochs=9))])
    assert policy.needs == {"noise"}
    assert policy.sets_learning_rate
    assert not Staged([(0, 2)]).sets_learning_rate

    def update(epoch, noise):
        measured = Measured(64, 32, epoch=epoch, signal=1.0, noise=noise)
        return policy.update(measured), policy.learning_rate_gain(measured, 64)

    assert update(0, 1e9) == (64, None)
    assert update(1, 1e9) == (128, None)
    assert update(2, 1.0) == (64, None)
    assert update(9, 1.0) == (64, 0.75)


def test_keeps_no_hold_of_the_list_it_was_given():
    stages = [[1, 2]]
    policy = Staged(stages)
    stages[0][1] = 64
    stages.append([2, 128])
    assert factors(policy, 4) == [1, 2, 2, 2]


@pytest.mark.parametrize(
    "stages",
    [
        [],
        (),
        None,
        4,
        "ab",
        (2, 4),
        [(1, 2, 3)],
        [(1,)],
        [(-1, 2)],
        [(1, 0)],
        [(1, 2.0)],
        [(1.0, 2)],
        [(True, 2)],
        [("1", 2)],
        [(3, 2), (1, 4)],
        [(1, 2), (1, 4)],
        [(1, AdaBatch)],
        {0: 2},
    ],
)
def test_rejects_what_are_no_stages(stages):
    message = (
        "`stages` must be a list of (epoch, factor) with increasing epochs and "
        f"factors >= 1. Received: stages={stages!r}."
    )
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        Staged(stages)
