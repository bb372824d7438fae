import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.optimizers import Proximal
from keras_ext.optimizers.operators import NuclearShrinkage
from tests.optimizers.operators.smallest import KERNEL, assert_is_smallest


def test_makes_penalty_and_distance_smallest():
    def penalty(x):
        return 0.7 * np.linalg.svd(x)[1].sum()

    assert_is_smallest(NuclearShrinkage(0.7), penalty)


def test_a_convolution_counts_as_a_matrix_of_its_filters():
    kernel = tf.reshape(tf.constant(KERNEL), (2, 2, 3))
    found = NuclearShrinkage(0.7)(kernel, 1.5, (0, 1))
    matrix = NuclearShrinkage(0.7)(tf.constant(KERNEL), 1.5, (0,))
    np.testing.assert_allclose(tf.reshape(found, (4, 3)), matrix, atol=1e-6)


def test_needs_two_axes():
    optimizer = Proximal("sgd", NuclearShrinkage(), include=None)
    with pytest.raises(ValueError, match="of at least two axes for NuclearShrinkage"):
        optimizer.build([keras.Variable([1.0], name="bias")])
