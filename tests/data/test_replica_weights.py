"""The weights that let the mean of the means of parts be that of a whole batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.data._batch_pipeline import split_for_replicas
from keras_ext.data._replica_weights import weighted_for_replicas

REPLICAS = 3
VALUES = np.random.default_rng(0).normal(size=12)


def parts_of(count, *weights):
    """The parts of one batch of so many samples that the replicas get."""
    arrays = [a[:count] for a in (VALUES, VALUES, *weights)]
    batches = tf.data.Dataset.from_tensors(tuple(map(tf.constant, arrays)))
    context = tf.distribute.InputContext(1, 0, num_replicas_in_sync=REPLICAS)
    batches = weighted_for_replicas(batches, REPLICAS)
    parts = split_for_replicas(batches, context)
    return [[a.numpy() for a in part] for part in parts]


@pytest.mark.parametrize("count", range(1, 13))
def test_the_mean_of_means_is_the_mean(count):
    parts = parts_of(count)
    assert len(parts) == REPLICAS
    means = [np.mean(y * weight) for _, y, weight in parts]
    np.testing.assert_allclose(np.mean(means), VALUES[:count].mean(), rtol=1e-5)
    if count % REPLICAS == 0:
        assert all((weight == 1).all() for _, _, weight in parts)


def test_weights_of_parts_that_are_equal_are_one_whatever_their_size():
    """41 / 41 is 1, and 41 * (1 / 41) is less."""
    batches = tf.data.Dataset.from_tensors((tf.zeros(82), tf.zeros(82)))
    ((_, _, weight),) = weighted_for_replicas(batches, 2)
    assert set(weight.numpy()) == {1.0}


def test_weights_are_as_exact_as_the_model(monkeypatch):
    monkeypatch.setattr(keras.config, "floatx", lambda: "float64")
    batches = tf.data.Dataset.from_tensors((tf.zeros(5), tf.zeros(5)))
    ((_, _, weight),) = weighted_for_replicas(batches, 2)
    np.testing.assert_array_equal(weight, [0.8, 0.8, 1.2, 1.2, 1.2])


@pytest.mark.parametrize("count", [1, 5, 6])
def test_weights_that_samples_have_are_kept(count):
    own = np.linspace(0.5, 2, 12)
    means = [np.mean(y * weight) for _, y, weight in parts_of(count, own)]
    np.testing.assert_allclose(np.mean(means), (VALUES * own)[:count].mean(), rtol=1e-5)


@pytest.mark.parametrize(
    "structure", [lambda x: x, lambda x: (x,)], ids=["no tuple", "no targets"]
)
def test_without_targets_there_is_nothing_to_weigh(structure):
    batches = tf.data.Dataset.from_tensors(structure(tf.constant(VALUES)))
    assert weighted_for_replicas(batches, REPLICAS) is batches


def test_an_empty_batch_stays_empty():
    batches = tf.data.Dataset.from_tensors((tf.zeros((0, 2)), tf.zeros((0,))))
    ((x, y, weight),) = weighted_for_replicas(batches, REPLICAS)
    assert (len(x), len(y), len(weight)) == (0, 0, 0)


def test_structures_of_inputs():
    x = {"a": None, "b": tf.constant(VALUES[:4])}
    batches = tf.data.Dataset.from_tensors((x, tf.constant(VALUES[:4])))
    ((x, y, weight),) = weighted_for_replicas(batches, REPLICAS)
    assert x["a"] is None
    np.testing.assert_array_equal(np.asarray(x["b"]), np.asarray(y))
    assert len(weight) == 4
