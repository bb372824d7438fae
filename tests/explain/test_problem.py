import numpy as np
import pytest
import tensorflow as tf

from keras_ext.explain._problem import Problem, Rows, gathered, rows_like, traced


@pytest.mark.parametrize(
    ("bytes_per_row", "expected"),
    [(0, 800), (2**20, 800), (24 * 2**30 // 200, 200), (2**40, 64)],
)
def test_large_models_are_evaluated_less_often(bytes_per_row, expected):
    problem = Problem(None, [np.zeros((2, 3))], None, 8, bytes_per_row=bytes_per_row)
    assert problem.affordable(800) == expected
    assert problem.affordable(10) == 10


def test_each_row_has_outputs_of_its_own():
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    which = np.array([[2, 0], [1, 1]])
    rows = Rows([], values, which, 10 * values)
    np.testing.assert_array_equal(rows.explained, [[3, 1], [5, 5]])
    found = rows.explained_background
    np.testing.assert_array_equal(found[0], [[30, 10], [60, 40]])
    np.testing.assert_array_equal(found[1], [[20, 20], [50, 50]])


def test_one_trace_takes_any_number_of_rows():
    calls = []

    def double(parts):
        calls.append(parts)
        return 2 * parts[0]

    parts = [np.ones((3, 2), "float32")]
    graph = traced(double, [rows_like(parts)], False)
    for count in (1, 5):
        found = graph(gathered([tf.ones((count, 2))]))
        np.testing.assert_array_equal(found, np.full((count, 2), 2.0))
    assert len(calls) == 1
