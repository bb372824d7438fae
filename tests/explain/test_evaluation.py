from functools import cache

import numpy as np
import pytest

from keras_ext.explain import _evaluation
from keras_ext.explain._evaluation import Evaluation
from tests.explain.models import normal, outputs_of, perceptron
from tests.explain.problems import problem_of

X = normal(5, 6)


@cache
def problem():
    """A network with two outputs."""
    return problem_of(perceptron(outputs=2), X)


def evaluation(batch_size):
    function = problem().function
    return Evaluation(function, [X], batch_size, jit=False)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_chunks_make_no_difference(batch_size):
    evaluate = evaluation(batch_size)
    assert evaluate.batch_size == batch_size
    np.testing.assert_allclose(
        evaluate([X]), outputs_of(problem().function.model, X), rtol=1e-5
    )


def test_as_many_rows_as_there_is_memory_for(monkeypatch):
    usual = evaluation(None)
    # Of float32: the input, layers of 12, 8 and 2, and what is between them.
    assert 4 * (6 + 12 + 8 + 2) <= usual.bytes_per_row < 10 * 4 * (6 + 12 + 8 + 2)
    monkeypatch.setattr(_evaluation, "BYTES", 3 * usual.bytes_per_row + 1)
    assert evaluation(None).batch_size == 3
    monkeypatch.setattr(_evaluation, "BYTES", 1)
    assert evaluation(None).batch_size == 1
