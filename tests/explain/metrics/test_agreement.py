import numpy as np
import pytest
import shap
from scipy import stats

from keras_ext.explain.metrics import agreement


def explanation(values):
    values = np.asarray(values, float)
    outputs = values.shape[2:]
    return shap.Explanation(values, base_values=np.zeros((len(values), *outputs)))


def test_correlations_are_those_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4, 9, 2))
    b[0, :3] = 1.0  # ties
    found = agreement(explanation(a), explanation(b))["rank_correlation"]
    for row, output in np.ndindex(4, 2):
        expected = stats.spearmanr(a[row, :, output], b[row, :, output]).statistic
        assert found[row, output] == pytest.approx(expected)


def test_top_players_and_their_signs():
    a = [[5.0, -4.0, 3.0, 0.1, 0.0]]
    b = [[-0.2, 4.0, 3.0, 0.1, 9.0]]
    found = agreement(explanation(a), explanation(b), top=3)
    assert found["top_overlap"].tolist() == [2 / 3]
    assert found["sign_agreement"].tolist() == [1 / 3]


def test_an_explanation_agrees_with_itself_and_not_with_its_opposite():
    values = np.random.default_rng(0).normal(size=(3, 6, 4))
    same = agreement(explanation(values), explanation(values))
    assert all((v == pytest.approx(1.0)) for v in same.values())
    opposite = agreement(explanation(values), explanation(-values))
    np.testing.assert_allclose(opposite["rank_correlation"], -1)
    assert (opposite["top_overlap"] == 1).all()
    assert (opposite["sign_agreement"] == 0).all()


def test_equal_values_have_no_order():
    flat = explanation(np.zeros((2, 6)))
    assert np.isnan(agreement(flat, flat)["rank_correlation"]).all()


def test_rejects_bad_arguments():
    one = explanation(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"`second` must be of the same rows"):
        agreement(one, explanation(np.zeros((2, 4))), top=1)
    with pytest.raises(ValueError, match=r"`top` must be an integer from 1 to 3"):
        agreement(one, one)
