import numpy as np
import pytest

from keras_ext.explain.maps import saliency, smooth_grad
from tests.explain.models import Formula, normal, perceptron, two_inputs
from tests.thorough import LONG

X = normal(5, 6)


def test_without_noise_it_is_the_gradient():
    model = perceptron()
    found = smooth_grad(model, X, noise=0.0, num_samples=3)
    np.testing.assert_allclose(found, saliency(model, X, absolute=False), atol=1e-6)


def test_noise_of_the_range_of_the_row():
    """The mean slope of |a| under noise of deviation s is 2 Phi(a / s) - 1."""
    model = Formula(lambda a, b: abs(a))
    x = np.array([[1.0, -3.0], [0.0, 2.0]])  # ranges of 4 and 2
    found = smooth_grad(model, x, noise=0.25, num_samples=20_000)
    expected = [[0.682689, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(found, expected, atol=0.03)  # 4 standard errors


@pytest.mark.thorough(LONG)
def test_chunks_and_other_rows_change_nothing():
    model = perceptron(outputs=3)
    whole = smooth_grad(model, X, num_samples=7, seed=3)
    small = smooth_grad(model, X[2:4], num_samples=7, batch_size=6, seed=3)
    np.testing.assert_allclose(small, whole[2:4], atol=1e-5)
    assert not np.allclose(whole, smooth_grad(model, X, num_samples=7))


@pytest.mark.thorough(LONG)
def test_tokens_get_noise_in_their_embeddings():
    rng = np.random.default_rng(0)
    x = {"number": normal(3, 2), "tokens": rng.integers(0, 7, (3, 3))}
    model = two_inputs()
    found = smooth_grad(model, x, outputs="size", num_samples=4)
    assert found["tokens"].shape == (3, 3)
    without = smooth_grad(model, x, outputs="size", num_samples=4, noise=0.0)
    assert not np.allclose(found["tokens"], without["tokens"])


@pytest.mark.parametrize(
    "kwargs", [{"noise": -1.0}, {"num_samples": 0}, {"seed": -1}], ids=str
)
def test_rejects_bad_arguments(kwargs):
    with pytest.raises(ValueError, match=f"`{next(iter(kwargs))}` must be"):
        smooth_grad(perceptron(), X, **kwargs)
