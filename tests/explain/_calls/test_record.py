import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_ext.explain._calls._record import (
    Call,
    is_real,
    operations,
    record_outputs,
    wide,
)
from keras_ext.explain._lookups import Lookups
from tests.explain.models import normal, outputs_of, two_inputs
from tests.explain.problems import problem_of
from tests.thorough import LONG

ROWS = {"number": normal(2, 2), "tokens": np.array([[1, 2, 1], [0, 3, 6]])}


def recorded(problem, look):
    """What a function finds in a record while it is traced."""
    lookups, kept = Lookups(problem.function, problem.background), []

    def compute(parts):
        found, given, columns = record_outputs(problem.function, parts, lookups)
        kept.append(look(found, given, columns))
        return columns

    graph = problem.compiled(compute, problem.rows)
    columns = graph([tf.constant(part) for part in problem.background])
    return columns.numpy(), kept[-1]


@pytest.mark.thorough(LONG)
def test_calls_are_noted_in_their_order_and_where_they_come_from():
    model = two_inputs()

    def look(found, given, columns):
        assert found.calls[-1].operation == "select"
        assert found.calls[-1].output is columns
        assert found.origin(tf.identity(given[0])) is given[0]
        assert found.origin(tf.exp(given[0])) is None
        return found.calls

    columns, calls = recorded(problem_of(model, ROWS), look)
    raw = outputs_of(model, ROWS)
    expected = np.concatenate([raw["kind"], raw["size"]], axis=1)
    np.testing.assert_allclose(columns, expected, rtol=1e-5, atol=1e-6)
    names = [getattr(call.operation, "name", call.operation) for call in calls]
    assert names.index("words") < names.index("size") < names.index("select")
    by_name = dict(zip(names, calls, strict=True))
    assert by_name["words"].number == 0
    # Tokens are no real numbers: the way back ends at their embeddings.
    assert by_name["words"].inputs == []
    (hidden,) = by_name["size"].inputs
    assert hidden is by_name["kind"].inputs[0]


def test_what_a_layer_gives_back_as_it_was_has_a_place_of_its_own():
    model = keras.Sequential([keras.Input((2,)), layers.Dropout(0.5), layers.Dense(1)])

    def look(found, given, columns):
        return [(call.inputs[0], call.outputs[0]) for call in found.calls], given

    _, (ways, given) = recorded(problem_of(model, normal(2, 2)), look)
    (into, out), (dense_into, _), _ = ways
    assert into is given[0]
    assert out is not into
    assert dense_into is out


def test_a_model_is_made_of_layers_each_once():
    inner = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    inputs = keras.Input((2,))
    model = keras.Model(inputs, inner(layers.ReLU()(inner(inputs))) + inputs)
    kinds = sorted(type(one).__name__ for one in operations(model))
    assert kinds == ["Add", "Dense", "ReLU"]


def test_calls_can_be_made_again_with_other_tensors():
    x, mask = tf.ones((1, 2), tf.float16), tf.constant([[True, False]])
    call = Call(None, lambda a, mask: tf.where(mask, a, 0), (x,), {"mask": mask}, x, [])
    assert call.num_tensors == 2
    (found,) = call.again(lambda t: 3 * t if is_real(t) else t)
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, [[3, 0]])
    assert wide(mask) is mask


def test_what_is_computed_outside_of_layers_is_not_passed_over():
    class Between(keras.Sequential):
        """Does something to its input that is no layer."""

        def call(self, inputs, training=None, mask=None):
            return super().call(tf.exp(inputs), training=training, mask=mask)

    model = Between([keras.Input((2,)), layers.Dense(1, name="last")])
    with pytest.raises(ValueError, match="`model` must be.*what comes to 'last' comes"):
        recorded(problem_of(model, normal(2, 2)), lambda *of: None)
