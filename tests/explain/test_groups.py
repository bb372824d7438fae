import numpy as np
import pytest

from keras_ext.explain import groups


def test_a_grid_numbers_rectangles_and_joins_channels():
    labels = groups.grid((5, 4, 3), (2, 3))
    assert labels.shape == (5, 4, 3)
    assert (labels == labels[..., :1]).all()
    expected = [[0, 0, 0, 1], [0, 0, 0, 1], [2, 2, 2, 3], [2, 2, 2, 3], [4, 4, 4, 5]]
    np.testing.assert_array_equal(labels[..., 0], expected)


def test_windows_join_the_features_of_a_step():
    expected = [[0, 0], [0, 0], [1, 1], [1, 1], [2, 2]]
    np.testing.assert_array_equal(groups.windows((5, 2), 2), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: groups.grid((4,), 2), r"`shape` must be two or more integers"),
        (lambda: groups.grid((4, 4, 1), 0), r"`size` must be an integer >= 1"),
        (lambda: groups.grid(4, 2), r"`shape` must be two or more integers"),
        (lambda: groups.grid((4, 4, 1), 2.5), r"`size` must be an integer >= 1"),
        (lambda: groups.windows(4, 2), r"`shape` must be \(steps,\)"),
        (lambda: groups.grid((4, 4, 1), (2, 2, 2)), r"`size` must be .*2 of them"),
        (lambda: groups.windows((4, 4, 1), 2), r"`shape` must be \(steps,\)"),
        (lambda: groups.windows((4,), 1.5), r"`length` must be an integer >= 1"),
    ],
)
def test_rejects_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
