import keras
import numpy as np
import pytest

from keras_ext.optimizers import MuonConv
from tests.optimizers.steps import steps_of

RNG = np.random.default_rng(0)


def test_a_kernel_of_a_convolution_is_the_matrix_of_its_patches():
    gradients = RNG.normal(size=(3, 2, 2, 3, 5))
    as_tensor = steps_of(MuonConv(0.1), gradients, np.zeros((2, 2, 3, 5)))
    as_matrix = steps_of(MuonConv(0.1), gradients.reshape(3, 12, 5), np.zeros((12, 5)))
    np.testing.assert_allclose(
        np.reshape(as_tensor, (3, 12, 5)), as_matrix, rtol=1e-4, atol=1e-6
    )


def test_the_step_is_nearly_orthogonal_whatever_the_gradient():
    gradient = RNG.normal(size=(6, 4)) * [10, 1, 0.3, 1]
    (step,) = steps_of(MuonConv(1.0, rms=None), [gradient], np.zeros((6, 4)))
    values = np.linalg.svd(step, compute_uv=False)
    assert 0.5 < values.min() < values.max() < 1.3


def test_its_root_mean_square_is_what_is_asked():
    gradient = RNG.normal(size=(32, 32))
    (step,) = steps_of(MuonConv(1.0, rms=0.2), [gradient], np.zeros((32, 32)))
    assert 0.15 < np.sqrt(np.mean(step**2)) < 0.25


def test_adam_moves_vectors_and_what_is_excluded():
    optimizer = MuonConv(0.01, exclude="embedding")
    shapes = {"kernel": (3, 2), "embeddings": (3, 2), "bias": (2,)}
    weights = [
        keras.Variable(np.zeros(s, "float32"), name=n) for n, s in shapes.items()
    ]
    optimizer.build(weights)
    slots = [set(optimizer.slots_of(w)) for w in weights]
    assert slots == [{"momentum"}, *[{"momentum", "velocity"}] * 2]
    optimizer.apply([keras.ops.ones(w.shape) * 7.0 for w in weights], weights)
    for adams in weights[1:]:
        np.testing.assert_allclose(adams, -0.01 * np.ones(adams.shape), rtol=1e-4)


def test_momentum_is_below_one():
    with pytest.raises(ValueError, match="`momentum` must be a number in .0, 1.\\."):
        MuonConv(momentum=1.0)
