"""The parts of the pipeline by themselves; `fit` is in `test_dynamic_batches.py`."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ext.data._batch_pipeline import (
    BatchSize,
    Draws,
    array_batches,
    dataset_batches,
    shuffled,
    split_for_replicas,
)
from tests.thorough import LONG


def draws_of(count, size, sizes=(4, 8), drop=False, order=3):
    return Draws(count, BatchSize(size, sizes), drop, lambda: order)


def drawn(batches):
    return [batch.numpy().tolist() for batch in batches]


def test_a_size_is_read_where_it_was_set(strategies):
    """Also one that was made within a strategy, which would mirror its variables."""
    with strategies(2).scope():
        size = BatchSize(4, (4, 8))
    size.assign(8)
    assert (size.value, int(size.read())) == (8, 8)
    assert "CPU:0" in size.read().device


@pytest.mark.parametrize(
    ("count", "drop", "sizes"),
    [(20, False, [8, 8, 4]), (21, False, [8, 8, 5]), (21, True, [8, 8, 4])]
    + [(3, False, [3]), (3, True, []), (8, False, [8]), (5, True, [4])],
)
@pytest.mark.parametrize("source", ["arrays", "dataset"])
@pytest.mark.thorough(LONG)
def test_the_number_of_batches_is_known_before_they_come(source, count, drop, sizes):
    draws = draws_of(count, 8, drop=drop)
    rows = tf.range(count)
    if source == "arrays":
        batches = array_batches(rows, draws, None)
    else:
        source = tf.data.Dataset.from_tensor_slices(rows)
        batches = dataset_batches(source, draws, lambda source, order: source)
    assert draws.count() == len(sizes)
    found = drawn(batches)
    assert [len(batch) for batch in found] == sizes
    assert sum(found, []) == list(range(sum(sizes)))
    assert draws.count() == len(sizes)
    assert draws.drawn_sizes == set(sizes)
    assert len(sizes) <= draws.most


def test_the_order_is_that_of_seed_and_number():
    orders = {
        (seed, order): tuple(
            sum(
                drawn(array_batches(tf.range(50), draws_of(50, 8, order=order), seed)),
                [],
            )
        )
        for seed in (0, 1)
        for order in (-1, 1, 2)
    }
    assert len(set(orders.values())) == 6
    again = drawn(array_batches(tf.range(50), draws_of(50, 4, order=2), 1))
    assert tuple(sum(again, [])) == orders[1, 2]


@pytest.mark.parametrize("seed", [0, 7])
def test_datasets_are_shuffled_by_two_numbers(seed):
    source = tf.data.Dataset.range(30)
    orders = [
        [int(i) for i in shuffled(source, 30, seed, tf.constant(n, tf.int64))]
        for n in (-1, 1, 2, 1)
    ]
    assert orders[1] == orders[3]
    assert len(set(map(tuple, orders))) == 3
    assert all(sorted(order) == list(range(30)) for order in orders)


@pytest.mark.parametrize(("pipelines", "replicas"), [(1, 1), (1, 3), (2, 4), (3, 3)])
def test_parts_make_the_batch(pipelines, replicas):
    batches = tf.data.Dataset.from_tensors((tf.range(10), {"y": tf.range(10) * 2}))
    parts = []
    for worker in range(pipelines):
        context = tf.distribute.InputContext(pipelines, worker, replicas)
        parts.append(list(split_for_replicas(batches, context)))
    # The workers take turns.
    ordered = [parts[i % pipelines][i // pipelines] for i in range(replicas)]
    assert sum((x.numpy().tolist() for x, _ in ordered), []) == list(range(10))
    for x, y in ordered:
        np.testing.assert_array_equal(y["y"], 2 * x)
