import re

import numpy as np
import pytest

from keras_ext.controllers.batch_size import GradientDiversity, Measured


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_wants_the_bound_of_the_paper(fraction):
    """n times the diversity, by its definition, of a set of gradients."""
    gradients = np.random.default_rng(0).normal(0.5, 1.0, size=(50, 6))
    total = np.sum(gradients, axis=0)
    diversity = np.sum(gradients**2) / (total @ total)
    mean = gradients.mean(axis=0)
    noise = np.mean(np.sum((gradients - mean) ** 2, axis=1))
    measured = Measured(8, 8, signal=mean @ mean, noise=noise)
    wanted = GradientDiversity(fraction).wanted(measured)
    assert wanted == pytest.approx(fraction * len(gradients) * diversity)


def test_equal_gradients_need_no_batch_and_unknown_ones_no_change():
    equal = Measured(8, 8, signal=1.0, noise=1e-9)
    assert GradientDiversity().wanted(equal) == pytest.approx(1.0)
    assert GradientDiversity(shrink=True).update(equal) == 4
    assert GradientDiversity(shrink=True).update(Measured(8, 8)) == 8


def test_rejects_bad_arguments():
    message = "`fraction` must be a number > 0. Received: fraction=0."
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        GradientDiversity(0)
