import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers, ops

from keras_ext.explain import Explainer, maps, metrics
from tests.explain.models import Formula, normal
from tests.thorough import LONG

X = normal(4, 2)
GRADIENTS = ("expected_gradients", "integrated_gradients", "deep")


def stepped(dtype="float32"):
    """A table of ages, which no gradient sees, beside an income."""
    age, income = keras.Input((1,), name="age", dtype=dtype), keras.Input((1,))
    coded = layers.Discretization([20.0, 40.0], output_mode="one_hot")(age)
    model = keras.Model(
        [age, income], layers.Dense(1)(layers.Concatenate()([coded, income]))
    )
    model.layers[-1].set_weights([np.array([[0.0], [1.0], [2.0], [0.5]]), np.zeros(1)])
    return model


AGES = np.array([[10.0], [30.0], [50.0]])


@pytest.mark.parametrize("method", GRADIENTS)
@pytest.mark.filterwarnings("ignore:No gradient leads to:UserWarning")
def test_what_gradients_do_not_see_is_not_given_to_others(method):
    rows, background = [AGES, AGES / 10], [AGES[:1], AGES[:1] / 10]
    if method == "deep":
        with pytest.raises(ValueError, match="'age'.*at 'discretization.*permutation"):
            Explainer(stepped(), background, method=method)
        return
    explainer = Explainer(stepped(), background, method=method)
    with pytest.warns(UserWarning, match="2 of 3 rows do not add up.* 2 is missing"):
        found = explainer(rows)
    np.testing.assert_allclose(found.values, [[0, 0], [0, 1], [0, 2]], atol=1e-5)
    np.testing.assert_allclose(found.gap, [0, 1, 2], atol=1e-5)
    miss = metrics.additivity(found, explainer, x=rows)
    np.testing.assert_allclose(miss, np.array([0, 1, 2]) / 4.5, atol=1e-5)


@pytest.mark.thorough(LONG)
def test_a_part_that_rounds_leaves_a_gap():
    inputs = keras.Input((2,))
    rounded = layers.Lambda(lambda x: x[:, :1] + ops.floor(3 * x[:, 1:]))(inputs)
    model = keras.Model(inputs, rounded)
    for method in GRADIENTS:
        explainer = Explainer(model, np.zeros((1, 2)), method=method)
        with pytest.warns(UserWarning, match="1 of 1 rows do not add up"):
            found = explainer(np.array([[1.0, 1.0]]))
        np.testing.assert_allclose(found.values, [[1.0, 0.0]], atol=1e-5)
        np.testing.assert_allclose(found.gap, [3.0], atol=1e-5)


def test_inputs_without_a_gradient_are_told():
    with pytest.warns(UserWarning, match=r"No gradient leads to the inputs \['age'\]"):
        maps.saliency(stepped(), [AGES, AGES])


def test_outputs_that_are_no_numbers_are_counted():
    model = Formula(lambda a, b: ops.log(a))
    x = np.abs(X)
    explainer = Explainer(model, x)
    with pytest.raises(ValueError, match="`x` must be of.*1 of 4 rows.*row 2"):
        explainer(np.where(np.arange(4)[:, None] == 2, -x, x))
    with pytest.raises(ValueError, match="`background` must be.*4 of 4 rows.*row 0"):
        Explainer(model, -x)(x)
    with pytest.raises(ValueError, match="`x` must be of.*4 of 4 rows"):
        maps.saliency(model, -x)
    between = Formula(lambda a, b: ops.log(a + b + 1))
    explainer = Explainer(between, np.array([[-5.0, 5.0]]), method="exact")
    with pytest.warns(UserWarning, match="values of 1 of 2 rows are infinite or NaN"):
        explainer(np.array([[5.0, -5.0], [-5.0, 6.0]]))


def test_outputs_that_change_from_call_to_call_are_told():
    noise = keras.random.SeedGenerator(0)
    model = Formula(lambda a, b: a + keras.random.normal(ops.shape(a), seed=noise))
    with pytest.warns(UserWarning, match="2 of 2 rows differ between two identical"):
        Explainer(model, X)


@pytest.mark.thorough(LONG)
def test_additivity_asks_what_keras_predicts():
    """Rows that were paired with the wrong inputs have values that add up."""
    frame = pd.DataFrame(X, columns=["b", "a"])
    inputs = {name: keras.Input((1,), name=name) for name in ("a", "b")}
    model = keras.Model(
        inputs, layers.Dense(1)(layers.Concatenate()([*inputs.values()]))
    )
    explainer = Explainer(model, frame)
    found = explainer(frame)
    assert metrics.additivity(found, explainer, x=frame).max() < 1e-5
    exchanged = frame.rename(columns={"a": "b", "b": "a"})
    assert metrics.additivity(found, explainer, x=exchanged).max() > 0.1
