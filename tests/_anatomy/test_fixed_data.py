import copy
import re
from itertools import islice

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._anatomy._fixed_data import FixedData

X, Y = np.arange(10.0), np.arange(10.0, 20.0)


def test_arrays_are_cut_into_batches_of_about_equal_size():
    batches = list(FixedData((X, Y), batch_size=4))
    assert [len(x) for x, _, _ in batches] == [4, 3, 3]
    np.testing.assert_array_equal(np.concatenate([x for x, _, _ in batches]), X)
    assert all(weight is None for _, _, weight in batches)


def test_it_can_be_iterated_again():
    for data in (
        FixedData((X, Y), max_rows=4),
        FixedData(tf.data.Dataset.from_tensor_slices((X, Y, Y)).batch(4)),
    ):
        for _ in range(2):
            assert sum(len(x) for x, _, _ in data) == (data.num_rows or 10)


def test_rows_are_spread_evenly():
    data = FixedData((X, Y), max_rows=4)
    ((x, y, _),) = data
    np.testing.assert_array_equal(x, [0, 3, 6, 9])
    np.testing.assert_array_equal(y, x + 10)


def test_of_what_goes_on_the_first_batches_are_kept():
    endless = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).repeat()
    data = FixedData.first_rows(endless, max_rows=5)
    assert data.num_rows == 8
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate([x for x, _, _ in data]), X[:8])


def test_fixed_data_is_taken_as_it_is():
    data = FixedData((X, Y), max_rows=4)
    again = FixedData(data, max_rows=2)
    assert again.num_rows == 4
    assert [*again][0][0] is [*data][0][0]


def test_targets_may_be_missing():
    ((x, y, weight),) = FixedData(({"a": X}, None))
    np.testing.assert_array_equal(x["a"], X)
    assert y is None
    assert weight is None


class Endless(keras.utils.PyDataset):
    def __getitem__(self, i):
        return X + i, Y


class WithLength(Endless):
    def __len__(self):
        return 2


class WithNumber(Endless):
    num_batches = 2


@pytest.mark.parametrize("kind", [WithLength, WithNumber])
def test_a_py_dataset_is_read_to_its_end(kind):
    data = FixedData(kind())
    for _ in range(2):
        batches = list(islice(data, 9))
        assert [x[0] for x, _, _ in batches] == [0.0, 1.0]


def test_one_row_is_enough():
    ((x, _, _),) = FixedData((X, Y), max_rows=1)
    assert x in X


@pytest.mark.parametrize("max_rows", [0, 2.0, True])
def test_rejects_numbers_that_count_no_rows(max_rows):
    message = f"`max_rows` must be an integer >= 1 or None. Received: {max_rows=}."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        FixedData((X, Y), max_rows=max_rows)


def test_a_copy_shares_the_data():
    data = FixedData((X, Y))
    assert copy.deepcopy(data) is data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X, "`train_data` must be a tuple (x, y) or (x, y, sample_weight)"),
        ((X,), "`train_data` must be a tuple (x, y)"),
        ((X, Y[:3]), "`train_data` must be of equally many rows"),
        ((X[:0], Y[:0]), "`train_data` must be of one row or more"),
    ],
)
def test_rejects_what_is_no_data(data, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        FixedData(data, name="train_data")
