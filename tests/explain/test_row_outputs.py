import copy
import pickle

import keras
import numpy as np
import pytest
import shap

from keras_ext.explain import Explainer
from tests.explain.models import normal, outputs_of, perceptron
from tests.thorough import LONG

NAMES = np.array(["cat", "dog", "fox"])


@pytest.fixture(scope="module")
def found():
    """An explanation of the highest output, and the names of these."""
    keras.utils.set_random_seed(0)  # which this comes before in a test
    model, x = perceptron(4, 3), 3 * normal(12, 4)
    explainer = Explainer(model, x[:4], outputs="top", output_names=NAMES)
    names = NAMES[outputs_of(model, x).argmax(axis=1)]
    assert len({*names}) == 3
    return explainer(x), names


@pytest.mark.parametrize(
    "rows",
    [
        slice(2, 5),
        [7, 0],
        np.array([3, 3]),
        np.arange(12) > 8,
        (slice(None), 2),
        (slice(1, 3), slice(0, 2)),
    ],
    ids=str,
)
@pytest.mark.thorough(LONG)
def test_names_go_with_the_rows(found, rows):
    explanation, names = found
    part = explanation[rows]
    of = rows[0] if isinstance(rows, tuple) else rows
    assert list(part.output_names) == list(names[of])
    np.testing.assert_array_equal(part.values, explanation.values[rows])
    np.testing.assert_array_equal(part.base_values, explanation.base_values[of])
    np.testing.assert_array_equal(part[1:].output_names, names[of][1:])


@pytest.mark.thorough(LONG)
def test_a_single_row_keeps_its_name(found):
    explanation, names = found
    row = explanation[np.int64(5)]
    assert row.output_names == names[5] == row[:2].output_names
    assert row.values.shape == (4,)
    assert row[:2].feature_names == ["feature 0", "feature 1"]
    shap.plots.waterfall(row, show=False)
    shap.plots._waterfall.plt.close("all")
    shap.plots.beeswarm(explanation, show=False)
    shap.plots._waterfall.plt.close("all")
    assert explanation.abs.mean(0).values.shape == (4,)


def test_copies_have_the_names_too(found):
    explanation, names = found
    for copied in (
        copy.deepcopy(explanation),
        pickle.loads(pickle.dumps(explanation)),
        explanation[...],
    ):
        assert list(copied.output_names) == list(names)
        np.testing.assert_array_equal(copied.values, explanation.values)
        assert isinstance(copied, shap.Explanation)
