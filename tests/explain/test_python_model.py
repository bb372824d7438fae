import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from keras_ext.explain import Explainer
from keras_ext.explain._python_model import PythonModel, as_model
from tests.explain.models import linear, normal

X = normal(12, 3)
WEIGHTS = np.array([1.0, -2.0, 0.5])
FRAME = pd.DataFrame(
    {
        "town": ["York", "Bath", None, "York", "Bath", "York"],
        "age": [20.5, 31.0, 40.0, np.nan, 55.0, 18.0],
        "rooms": [1, 2, 3, 4, 5, 6],
        "kind": pd.Categorical(["a", "b", "a", "b", "a", "b"]),
    }
)
PAYS = np.array([0, 1, 0, 1, 1, 0])


@pytest.mark.parametrize("method", ["exact", "permutation", "kernel"])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_functions_are_explained_as_models_are(method, shape):
    def function(rows):
        assert rows.dtype == "float32"
        return (rows @ WEIGHTS).reshape(shape)

    found = Explainer(function, X[:6], method=method)(X)
    np.testing.assert_allclose(
        found.values, Explainer(linear(WEIGHTS), X[:6])(X).values, atol=1e-5
    )


def test_functions_get_the_rows_in_their_form_and_dtype():
    seen = []

    def function(rows):
        seen.append((type(rows), rows["a"].dtype, rows["b"].dtype))
        return np.stack([rows["a"][:, 0] + rows["b"], rows["b"]], axis=1)

    rows = {"a": X[:, :1].astype("float64"), "b": np.arange(12)}
    found = Explainer(function, rows, output_names=["sum", "b"])(rows)
    assert set(seen) == {(dict, np.dtype("float64"), np.dtype("int64"))}
    assert list(found.output_names) == ["sum", "b"]
    expected = rows["b"] - 5.5
    np.testing.assert_allclose(
        found.values[:, 1], np.stack([expected] * 2, 1), rtol=1e-5
    )


def test_pipelines_of_frames_with_words_and_holes():
    """Whose columns are in any order, and have holes and categories."""
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer(
        (words, ["town", "kind"]), (numbers, ["rooms", "age"])
    )
    model = make_pipeline(columns, LogisticRegression()).fit(FRAME, PAYS)
    explainer = Explainer(model, FRAME)
    found = explainer(FRAME[["kind", "age", "town", "rooms"]])
    assert list(found.output_names) == ["0", "1"]
    assert sorted(found.feature_names) == sorted(FRAME.columns)
    reached = found.values.sum(axis=1) + found.base_values
    np.testing.assert_allclose(reached, model.predict_proba(FRAME), atol=1e-6)
    # By hand, for one feature of one row: what changes if only it is as in others.
    one = Explainer(lambda rows: model.predict_proba(rows)[:, 1], FRAME[1:2])
    hybrid = FRAME[1:2].assign(rooms=6)
    (values,) = one(hybrid).values
    gain = np.diff([model.predict_proba(f)[0, 1] for f in (FRAME[1:2], hybrid)])
    place = one(hybrid).feature_names.index("rooms")
    assert values[place] == pytest.approx(gain[0], abs=1e-6)
    assert np.count_nonzero(np.abs(values) > 1e-6) == 1


def test_estimators_without_probabilities_predict():
    model = LinearRegression().fit(X, X @ WEIGHTS)
    found = Explainer(model, X[:6])(X)
    np.testing.assert_allclose(found.values, WEIGHTS * (X - X[:6].mean(0)), atol=1e-5)
    bound = LogisticRegression().fit(X[:6], PAYS).predict_proba
    assert as_model(bound, X).classes == ["0", "1"]


@pytest.mark.parametrize(
    ("model", "kwargs", "message"),
    [
        (3, {}, "`model` must be a keras.Model, a function of rows, or an estimator"),
        (keras.Sequential, {}, "`model` must be a keras.Model, a function"),
        (np.sum, {}, "`model` must be a function from rows to 1 rows of outputs"),
        (np.exp, {"method": "deep"}, "`method` must be one of .* no keras.Model"),
    ],
)
def test_what_cannot_be_explained(model, kwargs, message):
    with pytest.raises(ValueError, match=message):
        Explainer(model, X, **kwargs)


def test_errors_of_functions_are_their_own():
    def function(rows):
        raise KeyError("no such column")

    with pytest.raises(KeyError, match="no such column"):
        Explainer(function, X)


def test_numbers_are_not_cut():
    counts = np.arange(6).reshape(3, 2)
    explainer = Explainer(lambda rows: rows.sum(axis=1), counts)
    np.testing.assert_allclose(explainer(counts.astype(float)).values.shape, (3, 2))
    with pytest.raises(ValueError, match=r"`x` must be of int64.*x=\[0\.5\]"):
        explainer(counts + 0.5)
    assert isinstance(explainer._problem.function.model, PythonModel)
