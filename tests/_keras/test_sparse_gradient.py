import numpy as np
import pytest
import tensorflow as tf

from keras_ext._keras._sparse_gradient import dense, in_rows, is_sparse, summed

ROWS = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    "indices", [[4, 0, 4, 2, 4, 0], [1] * 6, [5, 4, 3, 2, 1, 0], [7, 7, 0, 0, 7, 0]]
)
def test_each_index_has_the_sum_of_its_rows(indices, jit_compile):
    @tf.function(jit_compile=jit_compile)
    def make(rows, indices):
        made = summed(tf.IndexedSlices(rows, indices, tf.constant([8, 3])))
        return made.values, made.indices

    values, places = make(ROWS, tf.constant(indices))
    expected = np.zeros((8, 3), "float32")
    np.add.at(expected, indices, ROWS)
    is_row = np.any(values != 0, axis=1)
    assert sorted(places.numpy()[is_row]) == sorted(set(indices))
    actual = np.zeros_like(expected)
    actual[places.numpy()[is_row]] = values.numpy()[is_row]
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_a_batch_without_words_has_no_rows():
    nothing = tf.IndexedSlices(tf.zeros((0, 3)), tf.zeros((0,), tf.int64), [8, 3])
    assert summed(nothing).values.shape == (0, 3)


def test_dense_adds_the_rows_of_one_index():
    rows = tf.constant([[1.0], [2.0], [4.0]])
    sparse = tf.IndexedSlices(rows, tf.constant([1, 0, 1]), tf.constant([3, 1]))
    assert dense(sparse).numpy().tolist() == [[2.0], [5.0], [0.0]]


def test_what_keeps_zeros_is_done_in_rows():
    sparse = tf.IndexedSlices(ROWS[:2], [3, 1], [5, 3])
    doubled = in_rows(lambda x: 2 * x, sparse)
    assert is_sparse(doubled)
    np.testing.assert_array_equal(dense(doubled), 2 * dense(sparse))
    assert not is_sparse(in_rows(lambda x: 2 * x, dense(sparse)))
