import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_ext.explain._leaves import Leaves
from keras_ext.explain._problem import gathered
from tests.explain.models import outputs_of, two_inputs
from tests.explain.problems import problem_of
from tests.thorough import LONG

ROWS = {
    "number": np.array([[1.0, 2.0], [-1.0, 0.5]]),
    "tokens": np.array([[1, 2, 1], [0, 3, 6]]),
}


def leaves_of(problem):
    """What gradients are taken of, and their gradients within one graph."""
    leaves = Leaves(problem.function, problem.background)

    def compute(parts, which):
        known = leaves(parts)
        columns, gradients = leaves.gradients(known, parts, which)
        of_elements = leaves.elements(
            [g * x for g, x in zip(gradients[0], known, strict=True)]
        )
        return columns, known, of_elements

    graph = problem.compiled(compute, problem.rows, tf.TensorSpec((None, 1), tf.int32))
    return graph(gathered(problem.background), tf.zeros((2, 1), tf.int32))


@pytest.mark.thorough(LONG)
def test_embeddings_are_leaves_and_what_they_have_goes_to_tokens():
    model = two_inputs()
    problem = problem_of(model, ROWS, outputs="size")
    columns, known, of_elements = leaves_of(problem)
    np.testing.assert_allclose(
        columns, outputs_of(model, ROWS)["size"], rtol=1e-5, atol=1e-6
    )
    number, tokens = known
    np.testing.assert_allclose(number, ROWS["number"])
    table = model.get_layer("words").get_weights()[0]
    np.testing.assert_allclose(tokens, table[ROWS["tokens"]])
    # By hand: through the tanh to what the hidden layer was given.
    hidden, size = (layer for layer in model.layers if layer.name in _names(model))
    given = np.concatenate([ROWS["number"], table[ROWS["tokens"]].reshape(2, 6)], 1)
    bent = 1 - np.tanh(given @ hidden.get_weights()[0]) ** 2
    slope = (bent * size.get_weights()[0][:, 0]) @ hidden.get_weights()[0].T
    gains = slope * given
    expected = np.c_[gains[:, :2], gains[:, 2:].reshape(2, 3, 2).sum(axis=2)]
    np.testing.assert_allclose(of_elements, expected, rtol=1e-4, atol=1e-6)


def _names(model):
    dense = [x.name for x in model.layers if isinstance(x, layers.Dense)]
    return [name for name in dense if name != "kind"]


def test_whole_numbers_that_are_computed_with_are_leaves_too():
    inputs = keras.Input((2,), dtype="int32")
    model = keras.Model(inputs, ops.sum(3 * inputs, axis=1, keepdims=True))
    columns, known, of_elements = leaves_of(problem_of(model, np.array([[1, 2]] * 2)))
    assert known[0].dtype == tf.float32
    np.testing.assert_allclose(columns[:, 0], [9.0, 9.0])
    np.testing.assert_allclose(of_elements, [[3.0, 6.0]] * 2)


def test_what_has_no_gradient_is_refused_by_name():
    inputs = keras.Input((2,), name="kinds", dtype="int32")
    model = keras.Model(inputs, layers.CategoryEncoding(3)(inputs))
    problem = problem_of(model, np.array([[1, 2]] * 2))
    with pytest.raises(ValueError, match=r"`inputs` must be.*'kinds'.*permutation"):
        leaves_of(problem)
