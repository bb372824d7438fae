"""The noise, and the divergence against the integral that it approximates."""

from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, stats

from keras_ext.layers import VariationalDropout
from keras_ext.layers.dropout._variational_dropout import gaussian_divergence
from tests.thorough import LONG


def divergence(alpha):
    """KL of N(1, alpha) from the log-uniform prior, but for a constant."""

    def integrand(z):
        return np.log(np.abs(1 + np.sqrt(alpha) * z)) * stats.norm.pdf(z)

    pole = -1 / np.sqrt(alpha)
    ends = sorted({-9.0, 9.0, max(pole, -9.0)})
    parts = [integrate.quad(integrand, a, b)[0] for a, b in pairwise(ends)]
    return sum(parts) - 0.5 * np.log(alpha)


@pytest.mark.parametrize("alpha", [1e-3, 0.02, 0.1, 0.3, 0.6, 0.9, 1.0])
def test_divergence_is_that_of_the_integral(alpha):
    found = float(gaussian_divergence(np.float32(np.log(alpha))))
    # The fit with the published coefficients is off by 0.036 at the most.
    assert found == pytest.approx(divergence(alpha) - divergence(1.0), abs=0.04)


def test_noise_is_normal_around_one():
    layer = VariationalDropout(0.0, initial_alpha=0.25, seed=1)
    y = np.asarray(layer(np.full((5000, 1), 2.0, "float32"), training=True))
    assert stats.kstest(y[:, 0], stats.norm(2, 1).cdf).pvalue > 1e-3


@pytest.mark.parametrize("per", ["feature", "layer"])
def test_the_loss_gets_the_divergence_of_every_feature(per):
    layer = VariationalDropout(0.1, initial_alpha=0.5, per=per)
    layer(np.ones((2, 3), "float32"))
    expected = 0.1 * 3 * (divergence(0.5) - divergence(1.0))
    assert float(layer.losses[0]) == pytest.approx(expected, abs=0.005)
    layer.kl_weight = 0.0
    layer(np.ones((2, 3), "float32"))
    assert float(layer.losses[0]) == 0


@pytest.mark.thorough(LONG)
def test_features_that_matter_get_less_noise():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)).astype("float32")
    y = 3 * x[:, 0]
    layer = VariationalDropout(1 / 400, initial_alpha=0.3, seed=1)
    model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    batches = tf.data.Dataset.from_tensors((x, y)).repeat(100)
    model.fit(batches, shuffle=False, verbose=0)
    assert layer.alpha[0] < 0.05
    assert np.all(layer.alpha[1:] > 4 * layer.alpha[0])


def test_alpha_stays_within_its_bounds():
    layer = VariationalDropout(0.1)
    layer(np.ones((1, 2), "float32"))
    keras.optimizers.SGD(1.0).apply([keras.ops.array([-99.0, 99.0])], [layer.log_alpha])
    assert layer.alpha.tolist() == pytest.approx([1.0, np.exp(-10)], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kl_weight": -1}, "`kl_weight` must be a number >= 0"),
        ({"initial_alpha": 0}, r"`initial_alpha` must be a number in \(0, 1\]"),
        ({"per": "unit"}, '`per` must be "feature" or "layer"'),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        VariationalDropout(**{"kl_weight": 0.1, **arguments})
