import keras
import numpy as np

from keras_ext.compression import ConstantSparsity
from tests.compression.test_prune import Kept, fit, kernels, make_model, prune, zeros


def test_own_constraints_come_first_and_are_given_back():
    model = make_model()
    kernel = model.get_layer("hidden").kernel
    own = kernel.constraint = keras.constraints.NonNeg()
    fit(model, prune(ConstantSparsity(0.25, begin_step=0, frequency=4)))
    values = kernels(model)[0]
    assert values.min() == 0
    assert kernel.constraint is own
    assert model.get_layer("head").kernel.constraint is None
    # Nothing is left: a plain training fills what was pruned.
    kernel.constraint = None
    fit(model, epochs=1)
    assert zeros(model) == [0.0, 0.0]


def test_a_second_fit_goes_on_with_the_masks():
    model, kept = make_model(), Kept()
    fit(model, prune(), epochs=8)
    before = [kernel != 0 for kernel in kernels(model)]
    fit(model, prune(), kept, epochs=1)
    for masks in kept.masks:
        np.testing.assert_array_equal(masks[0], before[0])


def test_a_kernel_of_zeros_is_not_frozen_before_it_is_pruned():
    model = make_model()
    kernel = model.get_layer("head").kernel
    kernel.assign(np.zeros((8, 2)))
    fit(model, prune(ConstantSparsity(0.25, begin_step=0, frequency=20)))
    assert np.mean(np.array(kernel) == 0) == 0.25
