import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import sparse

from keras_ext.explain import Explainer, as_function, maps
from keras_ext.explain._given_rows import given_rows
from tests.explain.models import Formula, linear, normal, two_inputs

X = normal(6, 3)
DATA = tf.data.Dataset.from_tensor_slices


class Batches(keras.utils.PyDataset):
    """Two batches with targets."""

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return X[3 * i : 3 * i + 3], np.zeros(3)


FORMS = {
    "lists": X.tolist(),
    "rows": list(X),
    "batches": DATA(X).batch(4),
    "with targets": DATA((X, np.zeros(6))).batch(2),
    "single rows": DATA(X),
    "PyDataset": Batches(),
    "scipy": sparse.csr_matrix(X),
    "SparseTensor": tf.sparse.from_dense(X),
    "even RaggedTensor": tf.RaggedTensor.from_tensor(X),
    "tensor": tf.constant(X),
    "frame": pd.DataFrame(X),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_arrays(form):
    found = given_rows(FORMS[form], "x", [keras.KerasTensor((None, 3))])
    np.testing.assert_allclose(np.asarray(found), X, rtol=1e-6)


@pytest.mark.parametrize("form", ["lists", "with targets", "scipy"])
def test_explainers_and_maps_take_them(form):
    model = linear([1.0, -2.0, 0.5])
    expected = np.array([1.0, -2.0, 0.5]) * (X - X.mean(axis=0))
    found = Explainer(model, FORMS[form])(FORMS[form])
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    heat = maps.saliency(model, FORMS[form], absolute=False)
    np.testing.assert_allclose(heat, np.tile([1.0, -2.0, 0.5], (6, 1)), rtol=1e-5)
    packed = as_function(model, FORMS[form]).pack(FORMS[form])
    np.testing.assert_allclose(packed, X, rtol=1e-6)


def test_structures_of_several_inputs_remain():
    two = [keras.KerasTensor((None, 2)), keras.KerasTensor((None, 1))]
    pair = given_rows([[[1, 2], [3, 4]], [[5], [6]]], "x", two)
    assert [part.tolist() for part in pair] == [[[1, 2], [3, 4]], [[5], [6]]]
    named = given_rows({"a": [1.0, 2.0], "b": ["x", "y"]}, "x", two)
    assert named["a"].tolist() == [1.0, 2.0]
    assert named["b"].dtype == object
    data = DATA({"a": X, "b": X[:, 0]}).batch(4)
    read = given_rows(data, "x", two)
    np.testing.assert_array_equal(read["b"], X[:, 0])
    formula = Formula(lambda a, b, c: a)  # declares nothing
    np.testing.assert_allclose(
        Explainer(formula, X.tolist())(X[:1]).base_values, X[:, 0].mean(), rtol=1e-5
    )


def test_frames_among_several_inputs_name_their_columns():
    frame = pd.DataFrame(X[:, :2], columns=["age", "fare"])
    tokens = np.zeros((6, 3), int)
    names = ["number[age]", "number[fare]", *(f"tokens[{i}]" for i in range(3))]
    for given, as_dictionary in (
        ([frame, tokens], False),
        ({"number": frame, "tokens": tokens}, True),
    ):
        explainer = Explainer(two_inputs(as_dictionary), given)
        assert list(explainer(given).feature_names) == names


def test_inputs_without_axes():
    scalar = keras.Input(())
    model = keras.Model(scalar, keras.layers.Reshape((1,))(3.0 * scalar))
    found = Explainer(model, np.zeros(2))(X[:, 0])
    np.testing.assert_allclose(found.values, 3.0 * X[:, :1], rtol=1e-5)
    assert found.base_values.shape == (6,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            X[0],
            r"`background` must be rows of the shape \(3,\).*\(3,\), fl.*row\[None\]",
        ),
        (X[:, :2], r"`background` must be rows of the shape \(3,\).*\(6, 2\)"),
        (
            [[1.0, 2.0], [3.0]],
            "`background` must be of equally long rows.*pad_sequences",
        ),
        (tf.ragged.constant([[1.0], [2.0, 3.0]]), "equally long rows.*RaggedTensor"),
        (DATA(X).batch(2).repeat(), r"`background` must be a data set that ends.*take"),
        (DATA(X[:0]).batch(2), "`background` must be of one row or more"),
        ([["a", "b", "c"]], "`background` must be of float32.*'a'"),
        (pd.DataFrame({"a": [1], "b": ["male"], "c": [0]}), "of float32.*'male'"),
    ],
)
def test_rows_that_are_none_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        Explainer(linear([1.0, 1.0, 1.0]), given)
