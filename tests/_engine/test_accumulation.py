"""Eagerly, on one replica: each call of `add` is a step of its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext import HyperVariable
from keras_ext._engine._accumulation import Accumulation, NoAccumulation
from keras_ext._keras import _replica


class Ends:
    """What ends updates, and notes with what."""

    def __init__(self):
        self.seen = []

    def __call__(self, strategy, count, gradients, local, direct):
        values = [float(tf.squeeze(x)) for x in (*gradients, *local, *direct)]
        self.seen.append((float(count), *values))


def make(steps, local_shapes=(), weigh=None):
    weight, ends = keras.Variable([0.0], name="kernel"), Ends()
    number = HyperVariable(steps, "steps", bounds=(1, 8), dtype="int32")
    number.build()
    accumulation = Accumulation(number, [weight], local_shapes, weigh, ends)

    def add(value, *local):
        tensors = [tf.constant(float(x)) for x in local]
        accumulation.add([weight], [tf.constant([float(value)])], tensors, [])

    return accumulation, add, ends.seen, number


def test_an_update_has_the_mean_of_its_micro_batches_and_the_sum_of_measures():
    accumulation, add, seen, _ = make(3, local_shapes=[()])
    waiting, first = [], []
    for value in (1, 2, 6, 10, 20, 30):
        first.append(bool(accumulation.is_first()))
        add(value, 100 * value)
        waiting.append(accumulation.num_waiting)
    assert seen == [(3, 3, 900), (3, 20, 6000)]
    assert waiting == 2 * [1, 2, 0]
    assert first == 2 * [True, False, False]


def test_what_waits_can_be_applied_early():
    accumulation, add, seen, _ = make(4)
    add(1)
    add(4)
    _replica.merge(accumulation.end_early)
    assert seen == [(2, 2.5)]
    assert accumulation.num_waiting == 0
    for value in (4, 4, 4, 8):
        add(value)
    assert seen[1:] == [(4, 5)]


def test_fewer_steps_end_the_update_with_the_next_micro_batch():
    _, add, seen, steps = make(8)
    add(2)
    steps.assign(1)
    add(4)
    add(7)
    assert seen == [(2, 3), (1, 7)]


def test_of_an_update_that_is_not_finite_nothing_is_left():
    _, add, seen, _ = make(2)
    for value in (np.nan, 1, 3, 5):
        add(value)
    assert np.isnan(seen[0][1])
    assert seen[1] == (2, 4)


def test_micro_batches_count_by_their_weight():
    """Of 3 samples and of 1, whose losses were multiplied by 3 and by 1."""
    weights = iter([3.0, 1.0])

    def weigh():
        weight = tf.constant(next(weights))
        return weight, weight

    _, add, seen, _ = make(2, local_shapes=[()], weigh=weigh)
    # Means of 2 and 10, and their squares. What is measured has no weight.
    add(3 * 2, (3 * 2) ** 2)
    add(1 * 10, 10**2)
    assert seen == [(2, (3 * 2 + 10) / 4, 2**2 + 10**2)]


def test_one_part_of_the_weights_after_another_is_an_error():
    accumulation, add, _, _ = make(2)
    add(1)
    other = keras.Variable([0.0], name="bias")
    with pytest.raises(ValueError, match=r"`trainable_variables`.*one step that acc"):
        accumulation.add([other], [tf.constant([1.0])], [], [])


def test_without_accumulation_every_batch_is_an_update():
    ends = Ends()
    none = NoAccumulation(ends)
    gradient, measure, scale = (tf.constant(x) for x in (1.0, 2.0, 3.0))
    none.add([], [gradient], [measure], [scale])
    _replica.merge(none.end_early)
    assert ends.seen == [(1, 1, 2, 3)]
    assert (none.num_waiting, bool(none.is_first()), list(none.variables)) == (0, 1, [])
