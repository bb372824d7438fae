"""Divergence against its integral, moments of the outputs, and what is pruned."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from keras_ext.layers import SparseVariationalDense
from keras_ext.layers.dropout._sparse_variational_dense import sparse_divergence
from tests.layers.dropout.test_variational_dropout import divergence
from tests.thorough import LONG


@pytest.mark.parametrize("log_alpha", [-8, -4, -2, -1, 0, 1, 2, 4, 8])
def test_divergence_is_that_of_the_integral(log_alpha):
    # For infinite alpha, E log|z| of a standard normal z remains.
    limit = -0.5 * (np.euler_gamma + np.log(2))
    expected = divergence(np.exp(log_alpha)) - limit
    # The error of the fit is published as below 0.01.
    found = float(sparse_divergence(np.float32(log_alpha)))
    assert found == pytest.approx(expected, abs=0.01)


def made(units=2, **kwargs):
    arguments = {"kl_weight": 0.1, "seed": 1, **kwargs}
    return SparseVariationalDense(units, **arguments)


def test_outputs_have_the_moments_of_noisy_weights():
    layer = made(initial_log_variance=-1.0)
    x = np.tile(np.array([[1.0, -2.0, 0.5]], "float32"), (5000, 1))
    y = np.asarray(layer(x, training=True))
    kernel = np.asarray(layer.kernel)
    deviation = np.sqrt(np.sum(x[0] ** 2) * np.exp(-1))
    for unit in range(2):
        normal = stats.norm(x[0] @ kernel[:, unit], deviation)
        assert stats.kstest(y[:, unit], normal.cdf).pvalue > 1e-3


def test_inference_leaves_out_what_is_noisier_than_the_threshold():
    layer = made(1, activation="relu", threshold=2.0)
    x = np.array([[1.0, 10.0, 100.0]], "float32")
    layer.build(x.shape)
    layer.kernel.assign([[1.0], [1.0], [0.1]])
    # log(alpha): 1.9, 2.1 and -1 + log(100).
    layer.log_variance.assign([[1.9], [2.1], [-1.0]])
    layer.bias.assign([0.5])
    np.testing.assert_allclose(layer(x), [[1.5]], rtol=1e-6)
    assert layer.sparsity == pytest.approx(2 / 3)


def test_prune_is_for_good():
    layer = made(1, initial_log_variance=-3.0)
    x = np.ones((1, 3), "float32")
    layer.build(x.shape)
    layer.kernel.assign([[1.0], [1e-3], [0.0]])
    assert layer.prune() == pytest.approx(2 / 3)
    assert np.asarray(layer.kernel)[:, 0].tolist() == [1, 0, 0]
    # However it is trained, it stays out, and has no noise.
    layer.kernel.assign(np.ones((3, 1)))
    assert layer(x)[0, 0] == 1
    draws = layer(np.ones((2000, 3), "float32"), training=True)
    assert np.std(draws) == pytest.approx(np.exp(-1.5), rel=0.08)
    assert layer.sparsity == pytest.approx(2 / 3)
    layer(x)
    kept_only = 0.1 * (divergence(np.exp(-3)) + 0.63518)
    assert float(layer.losses[0]) == pytest.approx(kept_only, abs=0.002)


@pytest.mark.thorough(LONG)
def test_finds_the_inputs_that_matter_and_saves_what_it_found(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 20)).astype("float32")
    y = x[:, :3] @ np.array([1.0, -2.0, 3.0]) + 0.5 * rng.normal(size=500)
    layer = made(1, kl_weight=0.03, initial_log_variance=-6.0)
    model = keras.Sequential([keras.Input((20,)), layer])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    batches = tf.data.Dataset.from_tensors((x, y)).repeat(200)
    model.fit(batches, shuffle=False, verbose=0)
    before = np.asarray(model(x))
    layer.prune()
    kept = np.flatnonzero(np.asarray(layer.kernel))
    assert {0, 1, 2} <= set(kept)
    assert layer.sparsity >= 0.6
    np.testing.assert_array_equal(model(x), before)
    assert np.mean((before[:, 0] - y) ** 2) < 0.3  # 0.25 is noise
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].sparsity == layer.sparsity


def test_small_weights_survive_half_precision():
    layer = made(1, dtype="mixed_float16", use_bias=False)
    x = np.ones((1, 1), "float32")
    layer.build(x.shape)
    layer.kernel.assign([[1e-4]])
    layer.log_variance.assign([[-25.0]])  # log(alpha) is -6.6; both are 0 in float16
    np.testing.assert_allclose(layer(x), [[1e-4]], rtol=1e-2)
    assert layer.sparsity == 0


def test_saves_its_initializer_and_activation():
    layer = made(3, activation="tanh", kernel_initializer="ones", use_bias=False)
    config = layer.get_config()
    again = SparseVariationalDense.from_config(config)
    assert again.get_config() == config
    x = np.ones((1, 2), "float32")
    np.testing.assert_allclose(again(x), np.tanh([[2, 2, 2]]), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, "`units` must be an integer >= 1"),
        ({"kl_weight": -1}, "`kl_weight` must be a number >= 0"),
        ({"use_bias": 1}, "`use_bias` must be True or False"),
        ({"threshold": None}, "`threshold` must be a number"),
        ({"initial_log_variance": "low"}, "`initial_log_variance` must be a number"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        made(**arguments)
