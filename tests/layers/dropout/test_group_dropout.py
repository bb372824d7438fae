"""Groups are dropped as one."""

import numpy as np
import pytest

from keras_ext.layers import GroupDropout


def kept(groups, shape, axis=-1, draws=2000):
    x = np.random.default_rng(0).normal(size=(draws, *shape)).astype("float32")
    y = np.asarray(GroupDropout(0.25, groups, axis=axis, seed=1)(x, training=True))
    np.testing.assert_allclose(y[y != 0], x[y != 0] / 0.75, rtol=1e-6)
    return y != 0


@pytest.mark.parametrize(
    ("groups", "ends"), [(3, [0, 2, 4, 6]), ([1, 2, 3], [0, 1, 3, 6]), (1, [0, 6])]
)
def test_a_group_lives_or_dies_as_one(groups, ends):
    mask = kept(groups, (6,))
    parts = [mask[:, a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
    assert all(np.all(part == part[:, :1]) for part in parts)
    lives = np.stack([part[:, 0] for part in parts], axis=1)
    # A standard error of 0.0097; groups do not know of each other.
    np.testing.assert_allclose(lives.mean(axis=0), 0.75, atol=0.05)
    if len(parts) == 3:
        correlations = np.corrcoef(lives.T)[np.triu_indices(3, 1)]
        np.testing.assert_allclose(correlations, 0, atol=0.12)


def test_all_positions_share_the_groups():
    mask = kept(2, (5, 4))
    assert np.all(mask == mask[:, :1, ::2].repeat(2, axis=2))
    mask = kept(2, (4, 5), axis=1)
    assert np.all(mask == mask[:, ::2, :1].repeat(2, axis=1))


def test_dropped_features_are_zero_even_if_infinite():
    x = np.full((100, 4), np.inf, "float32")
    y = np.asarray(GroupDropout(0.5, 2, seed=0)(x, training=True))
    assert set(np.unique(y)) == {0, np.inf}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 1.0}, "`rate` must be a number in"),
        ({"groups": 0}, "`groups` must be an integer >= 1 or a list of them"),
        ({"groups": []}, "`groups` must be an integer >= 1 or a list of them"),
        ({"groups": [1, 2.5]}, "`groups` must be an integer >= 1 or a list"),
        ({"axis": 0}, "`axis` must be an integer, not 0"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GroupDropout(**{"rate": 0.5, "groups": 2, **arguments})


@pytest.mark.parametrize(
    ("groups", "axis", "message"),
    [
        (3, -1, "`groups` must be a division of 4 features in groups. .*groups=3"),
        ([1, 2], -1, "`groups` must be a division of 4 features"),
        (2, 2, "`axis` must be an axis of the inputs after the first; they have 2"),
        (2, -2, "`axis` must be an axis of the inputs after the first"),
    ],
)
def test_rejects_inputs_that_do_not_fit(groups, axis, message):
    with pytest.raises(ValueError, match=message):
        GroupDropout(0.5, groups, axis=axis).build((None, 4))
