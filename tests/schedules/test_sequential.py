import pytest

from keras_ext.schedules import Sequential


@pytest.mark.parametrize("boundaries", [[1], [2, 1], [1, 1], [0, 1], [1, 2, 3]])
def test_says_which_boundaries_are_needed(boundaries):
    with pytest.raises(ValueError, match=r"`boundaries` must be .* integers"):
        Sequential([0.1, 0.2, 0.3], boundaries)
