import keras
import numpy as np
import pandas as pd
import pytest

from keras_ext.explain import Explainer
from keras_ext.explain._pairing import Pairing
from tests.explain.models import linear, normal

FRAME = pd.DataFrame(normal(4, 3), columns=["b", "a", "c"])


def of_columns(kind=dict):
    inputs = {name: keras.Input((1,), name=name) for name in "abc"}
    output = keras.layers.Concatenate()(list(inputs.values()))
    return keras.Model(inputs if kind is dict else list(inputs.values()), output)


@pytest.mark.parametrize("kind", [dict, list])
def test_names_decide_and_the_order_is_that_of_the_frame(kind):
    pairing = Pairing(of_columns(kind), FRAME, "background")
    given = {name: FRAME[name] for name in "cab"}
    for x in (FRAME, FRAME[["c", "b", "a"]], given):
        leaves = pairing.leaves(x, "x")
        for leaf, name in zip(leaves, "abc", strict=True):
            np.testing.assert_array_equal(leaf, FRAME[name])
    assert [pairing.names[i] for i in pairing.order] == ["b", "a", "c"]
    packed = pairing.packed(["of b", "of a", "of c"])
    expected = {"a": "of a", "b": "of b", "c": "of c"}
    assert packed == (expected if kind is dict else list(expected.values()))


def test_columns_of_one_input_are_in_the_order_of_the_background():
    explainer = Explainer(linear([1.0, 10.0, 100.0]), FRAME)
    expected = explainer(FRAME).values
    np.testing.assert_allclose(explainer(FRAME[["c", "a", "b"]]).values, expected)
    np.testing.assert_allclose(explainer(FRAME.to_numpy()).values, expected)


@pytest.mark.parametrize("model", [of_columns(), of_columns(list)])
@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.assign(target=1.0), r"\['a', 'b', 'c'\].*Too many: \['target'\]"),
        (FRAME[["a", "b"]], r"Not there: \['c'\]"),
        (FRAME.rename(columns={"c": "d"}), r"Not there: \['c'\].*Too many: \['d'\]"),
    ],
)
def test_a_name_too_many_or_too_few_is_an_error(model, frame, message):
    with pytest.raises(ValueError, match=message):
        Explainer(model, frame)
    explainer = Explainer(linear([1.0, 2.0, 3.0]), FRAME)
    with pytest.raises(ValueError, match="`x` must be"):
        explainer(frame)


def test_a_list_has_no_names():
    inputs = {name: keras.Input((1,), name=name) for name in "ba"}
    model = keras.Model(inputs, keras.layers.Add()(list(inputs.values())))
    with pytest.raises(ValueError, match=r"a dictionary of the inputs \['b', 'a'\]"):
        Explainer(model, [np.zeros((2, 1)), np.zeros((2, 1))])
