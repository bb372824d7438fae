"""Configurations as rows of numbers, against what KerasTuner draws."""

import keras_tuner
import numpy as np
import pytest

from keras_ext.tuner._encoded_space import EncodedSpace


def every_kind():
    hp = keras_tuner.HyperParameters()
    hp.Fixed("fixed", 3)
    hp.Choice("kind", ["a", "b", "c"])
    hp.Int("depth", 1, 3)
    hp.Int("doubled", 2, 64, step=2, sampling="log")
    hp.Int("many", 1, 10**9)
    with hp.conditional_scope("depth", [2, 3]):
        hp.Float("rate", 1e-3, 1.0, sampling="log")
        hp.Choice("ratio", [1, 2, 4], ordered=True)
    with hp.conditional_scope("kind", ["a", "b"]):
        hp.Boolean("flag")
        with hp.conditional_scope("flag", [True]):
            hp.Int("width", 8, 512, sampling="log")
    with hp.conditional_scope("kind", ["c"]):
        # The same name as above, with other values.
        hp.Float("ratio_c", 0.0, 1.0, step=0.25)
        hp.Int("width", 1, 4)
    with hp.conditional_scope("fixed", [3]):
        hp.Float("back", 0.1, 10.0, sampling="reverse_log")
    return EncodedSpace(hp.space)


def drawn(space, count=200):
    return np.random.default_rng(0).random((count, len(space.searched)))


def test_a_configuration_has_one_row_wherever_its_place_was():
    space = every_kind()
    places = drawn(space)
    values = [space.values(place) for place in places]
    assert all(v["fixed"] == 3 for v in values)
    for v in values:
        assert ("rate" in v) == (v["depth"] > 1)
        assert ("flag" in v) == (v["kind"] != "c") != ("ratio_c" in v)
        assert ("width" in v) == (v["kind"] == "c" or v["flag"])
    back = np.array([space.places(v) for v in values])
    rows = space.features(places)
    np.testing.assert_allclose(space.features(back), rows, atol=1e-6)
    for place, v in zip(back, values, strict=True):
        again = space.values(place)
        assert again.keys() == v.keys()
        for name, value in again.items():
            close = isinstance(value, float) and abs(value - v[name]) < 1e-9
            assert close or value == v[name]
    # Different values have different rows.
    assert len(np.unique(rows.round(9), axis=0)) == len({str(v) for v in values})


def test_what_has_no_order_is_equally_far_and_what_has_is_not():
    hp = keras_tuner.HyperParameters()
    hp.Choice("word", ["a", "b", "c"])
    hp.Choice("size", [1, 2, 4], ordered=True)
    space = EncodedSpace(hp.space)
    np.testing.assert_array_equal(space.groups, [0, 0, 0, 1])
    thirds = np.array([1, 3, 5]) / 6
    words = space.features(np.column_stack([thirds, np.full(3, 0.5)]))
    gaps = np.linalg.norm(words[:, None] - words, axis=2)
    np.testing.assert_allclose(gaps, 1 - np.eye(3))
    sizes = space.features(np.column_stack([np.full(3, 0.5), thirds]))
    np.testing.assert_allclose(sizes[:, -1], thirds)


@pytest.mark.parametrize("scale", [0.01, 0.3])
def test_near_places_stay_in_the_cube_and_are_near(scale):
    space = every_kind()
    random = np.random.default_rng(1)
    for place in (np.full(len(space.searched), edge) for edge in (0.0, 0.5, 1 - 1e-9)):
        near = space.near(place, 500, scale, random)
        assert near.min() >= 0
        assert near.max() < 1
        assert (near != place).any(axis=1).all()
        moved = (near != place)[:, space.ordered].mean()
        assert 0.45 < moved < 0.6
        steps = np.abs(near - place)[:, space.ordered]
        assert np.sqrt((steps[steps > 0] ** 2).mean()) < 1.2 * scale


def test_places_of_what_is_missing_are_in_the_middle():
    space = every_kind()
    found = space.places({"kind": "c", "depth": 1})
    assert found.shape == (len(space.searched),)
    assert (found == 0.5).sum() >= len(space.searched) - 2
