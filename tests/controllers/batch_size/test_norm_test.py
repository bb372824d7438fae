import math
import re

import numpy as np
import pytest

from keras_ext.controllers.batch_size import Measured, NormTest

GRADIENT = np.array([0.3, -0.2, 0.5])
DEVIATIONS = np.array([2.0, 1.0, 1.7])


def measured(size):
    noise = np.sum(DEVIATIONS**2)
    return Measured(size, 8, signal=GRADIENT @ GRADIENT, noise=noise)


@pytest.mark.parametrize("theta", [0.3, 0.5, 0.9])
def test_ends_where_the_error_of_sampled_gradients_is_allowed(theta):
    policy, size = NormTest(theta), 2
    while policy.update(measured(size)) > size:
        size = policy.update(measured(size))
    rng = np.random.default_rng(0)

    def ratio(size):
        noise = rng.normal(size=(20_000, 3)) * DEVIATIONS / math.sqrt(size)
        error = np.mean(np.sum(noise**2, axis=1))
        return error / np.mean(np.sum((GRADIENT + noise) ** 2, axis=1))

    assert ratio(size) < theta**2 * 1.02
    assert ratio(size / 2) > theta**2 * 0.98


def test_wants_the_size_of_the_paper():
    # trace / (theta**2 |g|**2), with the norm that the gradient of the batch has
    wanted = NormTest(0.5).wanted(Measured(16, 8, signal=1.0, noise=16.0))
    assert wanted == 16.0 / (0.25 * 2.0)


def test_grows_when_there_is_nothing_but_noise():
    assert NormTest().update(Measured(16, 8, signal=0.0, noise=16.0)) == 32


def test_keeps_the_size_while_nothing_is_known():
    assert NormTest(shrink=True).update(Measured(16, 8)) == 16
    # Both estimates can come out negative.
    assert NormTest(shrink=True).update(Measured(16, 8, signal=-1, noise=1)) == 16
    assert NormTest(shrink=True).update(Measured(16, 8, signal=1, noise=-1)) == 16
    assert NormTest(shrink=True).update(Measured(16, 8, signal=1, noise=0)) == 16
    # The norm of the gradient of a batch is the signal and a sixteenth of the noise: 0.
    assert NormTest(shrink=True).update(Measured(16, 8, signal=-1, noise=16)) == 16


def test_shrinks_when_a_quarter_would_do():
    assert NormTest(0.5, shrink=True).update(Measured(40, 8, signal=1, noise=4)) == 40
    assert NormTest(0.5, shrink=True).update(Measured(99, 8, signal=1, noise=4)) == 49.5


def test_rejects_bad_arguments():
    message = "`theta` must be a number > 0. Received: theta=-1."
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        NormTest(theta=-1)
