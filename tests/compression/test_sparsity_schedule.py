import pytest
import tensorflow as tf

from keras_ext.compression import SparsitySchedule


def test_says_in_a_graph_what_it_says_on_the_host():
    schedule = SparsitySchedule(begin_step=3, end_step=9, frequency=2)
    traced = tf.function(schedule.is_due)
    for step in range(12):
        assert bool(traced(tf.constant(step))) == bool(schedule.is_due(step))


def test_a_schedule_without_sparsity_says_so():
    schedule = SparsitySchedule(begin_step=0, end_step=-1)
    with pytest.raises(NotImplementedError, match="must override sparsity"):
        schedule.sparsity(0)


def test_rejects_an_end_before_the_begin():
    message = r"`end_step` must be -1, or at least begin_step=5\. Received: end_step=4"
    with pytest.raises(ValueError, match=message):
        SparsitySchedule(begin_step=5, end_step=4)
