import numpy as np
import pytest
import shap

from keras_ext.explain._drawing import Shown, diverging, limit, numbers

VALUES = np.array([[[1.0, -1.0], [0.25, 2.0]], [[0.0, 0.0], [3.0, 4.0]]])


def shown(**named):
    base = named.pop("base_values", np.array([[0.5, 1.0], [0.5, 1.0]]))
    explanation = shap.Explanation(VALUES, base_values=base, **named)
    return Shown(explanation, (1,), "of tables")


def test_few_extreme_values_do_not_take_all_the_color():
    values = np.ones(1000)
    values[:2] = 1000.0, -np.inf
    assert limit(values) == 1.0
    assert limit(np.zeros(3)) == limit(np.full(2, np.nan)) == 1.0
    assert limit(np.r_[np.zeros(1000), -0.5]) == 0.5


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((0.5, -12.345), ["0.5", "−12.3"]),
        ((1234.5, 0.4), ["1234", "0"]),
        ((0.01234, -0.00001), ["0.0123", "0.0000"]),
        ((3e8, 1.0), ["3e+08", "1"]),
        ((np.nan, 1.0), ["nan", "1"]),
    ],
)
def test_numbers_have_three_digits_where_it_matters(given, expected):
    assert numbers(*given) == expected


def test_nothing_has_no_color_and_signs_have_opposite_ones():
    low, middle, high = (diverging()(place) for place in (0.0, 0.5, 1.0))
    assert min(middle) > 0.98
    assert low[0] < low[2]
    assert high[0] > high[2]


def test_a_caption_says_from_where_to_where():
    named = shown(output_names=["size", "weight"])
    assert named.caption(0, 0) == "size: 0.50 → 1.75"
    assert named.reached(1, 1) == 5.0
    assert named.title(1) == "weight"
    assert (named.output("weight"), named.output(0)) == (1, 0)
    with pytest.raises(ValueError, match=r"`output` must be.*\['size', 'weight'\]"):
        named.output("height")
    nameless = Shown(VALUES[..., 0], (1,), "of tables")
    assert nameless.title(0) == "output 0"
    assert nameless.caption(0, 0) == ""
    with pytest.raises(ValueError, match="`row` must be an integer from 0 to 1"):
        nameless.require_row(2)


def test_rows_may_have_outputs_of_their_own():
    each = shown(output_names=np.array([["cat", "dog"], ["dog", "fox"]]))
    assert (each.name(0, 1), each.name(1, 1)) == ("dog", "fox")
    assert each.title(1) == "output 2, from the highest"


def test_features_without_names_are_numbered():
    assert shown(feature_names=["age", "income"]).features() == ["age", "income"]
    assert shown().features() == ["feature 0", "feature 1"]
    each = shown(feature_names=np.array([["a", "b"], ["c", "d"]]))
    assert each.features(1) == ["c", "d"]
    assert each.features() == ["feature 0", "feature 1"]
