import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_ext.explain.maps._question import Question, places
from tests.explain.models import normal, outputs_of, perceptron, two_inputs

X = normal(5, 6)


@pytest.fixture(scope="module")
def network():
    """A network of three outputs."""
    return perceptron(6, 3)


# A third of two is less than a row, of which there is always one.
@pytest.mark.parametrize("batch_size", [2, 6, "auto"])
def test_rows_and_outputs_are_gone_through_in_order(network, batch_size):
    question = Question(network, X, [2, 0], batch_size, jit=False)
    assert (question.num_rows, question.which.tolist()) == (5, [[0, 1]] * 5)

    def compute(parts, which, factor):
        function = question.function
        return factor * function.pick(function(parts), which)

    compiled = question.compiled(compute, tf.TensorSpec((), tf.float32))
    found = question.mapped(compiled, tf.constant(2.0))
    np.testing.assert_allclose(
        found, 2 * outputs_of(network, X)[:, [2, 0]], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(question.evaluate([X]), found / 2, rtol=1e-5, atol=1e-6)


def test_maps_have_the_shapes_of_the_inputs(network):
    question = Question(network, X, None, 8, jit=False)
    assert question.shaped(np.zeros((5, 6, 3))).shape == (5, 6, 3)
    assert question.shaped(np.zeros((5, 6, 1))).shape == (5, 6)
    rows = {"number": normal(2, 2), "tokens": np.ones((2, 3), int)}
    several = Question(two_inputs(), rows, "size", 8, jit=False)
    found = several.shaped(np.arange(10.0).reshape(2, 5, 1))
    np.testing.assert_array_equal(found["number"], [[0, 1], [5, 6]])
    np.testing.assert_array_equal(found["tokens"], [[2, 3, 4], [7, 8, 9]])


def test_the_background_is_zeros_unless_there_are_words(network):
    question = Question(network, X, None, 8, jit=False)
    np.testing.assert_array_equal(
        question.problem(None).background, np.zeros((1, 1, 6))
    )
    own = question.problem(X[:2], np.zeros(6, int), seed=3)
    assert (own.num_background, own.players.count, own.seed) == (2, 1, 3)
    words = keras.Input((2,), dtype="string")
    codes = layers.StringLookup(vocabulary=["a", "b"])(words)
    model = keras.Model(words, layers.Flatten()(layers.Embedding(4, 1)(codes)))
    question = Question(model, np.array([["a", "b"]]), None, 8, jit=False)
    with pytest.raises(ValueError, match="`background` must be given where inputs are"):
        question.problem(None)


def test_what_is_no_model_and_outputs_that_are_no_numbers_are_refused(network):
    with pytest.raises(ValueError, match=r"`model` must be a keras\.Model"):
        Question(lambda x: x, X, None, 8, jit=False)
    with pytest.raises(ValueError, match="`x` must be.*1 of 5 rows.*row 3"):
        Question(
            network, np.where(np.arange(5)[:, None] == 3, np.nan, X), None, 8, False
        )


def test_the_last_of_several_axes_is_that_of_channels():
    assert (places((4, 5, 3)), places((7,)), places(())) == ((4, 5), (7,), ())
