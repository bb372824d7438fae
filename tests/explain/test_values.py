import numpy as np
import pytest
import shap
from scipy.stats import spearmanr

from keras_ext.explain._values import (
    by_player,
    has_outputs,
    rank_correlation,
    values_of,
)


def test_one_output_gets_an_axis_of_its_own():
    values = np.arange(24.0).reshape(2, 3, 4)
    of_one = shap.Explanation(values, base_values=np.zeros(2))
    of_four = shap.Explanation(values, base_values=np.zeros((2, 4)))
    assert not has_outputs(of_one)
    assert by_player(of_one).shape == by_player(values).shape == (2, 12, 1)
    assert has_outputs(of_four)
    np.testing.assert_array_equal(by_player(of_four), values)
    assert values_of(values) is values


@pytest.mark.parametrize("shape", [(3,), (0, 3)])
def test_what_has_no_rows_is_refused(shape):
    with pytest.raises(ValueError, match=r"`first` must be of several rows"):
        by_player(np.zeros(shape), "first")


def test_ranks_correlate_as_scipy_has_it():
    first, second = np.random.default_rng(0).integers(0, 5, size=(2, 1, 9, 1)) + 0.0
    expected = spearmanr(first.ravel(), second.ravel()).statistic
    np.testing.assert_allclose(rank_correlation(first, second), [[expected]])
    assert np.isnan(rank_correlation(first, 0 * second)).all()
