import math

import numpy as np
import pytest

from keras_ext.controllers.batch_size import AdAdaGrad, Measured, NormTest


def test_per_norm_it_is_the_norm_test():
    for noise in (1.0, 10.0, 500.0):
        measured = Measured(16, 8, signal=1.0, noise=noise)
        ours, theirs = AdAdaGrad(0.3), NormTest(0.3)
        assert ours.update(measured) == theirs.update(measured)
        assert ours.wanted(measured) == theirs.wanted(measured)


@pytest.mark.parametrize("eta", [0.3, 0.8])
def test_per_element_it_ends_where_every_element_may_err(eta):
    """With elements that are all equally noisy, so that none hides behind others."""
    gradient = np.array([0.1, 1.0, 10.0])
    deviations = 3.0 * gradient
    policy, size = AdAdaGrad(eta, rule="element"), 2
    gsnr = np.mean(gradient**2 / deviations**2)
    while policy.update(Measured(size, 8, gsnr=gsnr)) > size:
        size *= 2
    rng = np.random.default_rng(0)

    def ratio(size):
        noise = rng.normal(size=(20_000, 3)) * deviations / math.sqrt(size)
        return np.mean(noise**2, axis=0) / np.mean((gradient + noise) ** 2, axis=0)

    assert np.all(ratio(size) < 1.05 * eta**2)
    assert np.all(ratio(size / 2) > 0.95 * eta**2)


def test_measures_only_what_it_needs():
    assert AdAdaGrad().needs == {"noise"}
    assert AdAdaGrad(rule="element").needs == {"gsnr"}


def test_edges():
    for per in ("norm", "element"):
        assert AdAdaGrad(rule=per, shrink=True).update(Measured(16, 8)) == 16
    noise_alone = Measured(16, 8, gsnr=-0.5)
    assert AdAdaGrad(rule="element").update(noise_alone) == 32
