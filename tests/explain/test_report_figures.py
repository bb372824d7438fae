import numpy as np
import pytest

from keras_ext.explain._report_figures import draw_swarm

NAMES = ["age", "income_$"]


def test_each_feature_has_a_row_of_dots_in_the_color_of_its_rank():
    values = np.random.default_rng(0).normal(size=(50, 2))
    data = np.stack([np.arange(50) ** 3, np.full(50, "red")], axis=1).astype(object)
    figure = draw_swarm(NAMES, values, data)
    axes = figure.axes[0]
    for i, dots in enumerate(axes.collections):
        x, y = dots.get_offsets().T
        np.testing.assert_allclose(x, values[:, i])
        assert np.abs(y - i).max() <= 0.36 + 1e-9
    numbers, words = axes.collections
    np.testing.assert_allclose(numbers.get_array(), np.linspace(0, 1, 50))
    assert words.get_array() is None
    assert len(figure.axes) == 2


def test_dots_at_one_place_lie_apart():
    figure = draw_swarm(["age"], np.zeros((9, 1)), None)
    y = figure.axes[0].collections[0].get_offsets()[:, 1]
    assert len(set(np.round(y, 6))) == 9
    np.testing.assert_allclose(np.mean(y), 0.0, atol=1e-9)
    assert len(figure.axes) == 1


@pytest.mark.parametrize(("count", "dots"), [(2000, 2000), (4001, 1334)])
def test_no_more_dots_than_can_be_told_apart(count, dots):
    figure = draw_swarm(["age"], np.linspace(0, 1, count)[:, None], None)
    assert len(figure.axes[0].collections[0].get_offsets()) == dots
