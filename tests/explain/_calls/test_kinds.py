from functools import partial

import numpy as np
import pytest
from keras import activations, layers

from keras_ext.explain._calls import _kinds
from tests.explain.models import normal

# What it takes to make them, and rows of that many axes.
LINEAR = {
    layers.Dense: ((2,), 2),
    layers.EinsumDense: (("ab,bc->ac", 2), 2),
    layers.Conv1D: ((2, 2), 3),
    layers.Conv1DTranspose: ((2, 2), 3),
    layers.SeparableConv2D: ((2, 2), 4),
    layers.DepthwiseConv1D: ((2,), 3),
    layers.AveragePooling2D: ((2,), 4),
    layers.UpSampling1D: ((), 3),
    layers.Cropping1D: ((), 3),
    layers.Permute: (((2, 1),), 3),
    layers.RepeatVector: ((2,), 2),
    layers.Rescaling: ((3.0, 1.0), 2),
    layers.BatchNormalization: ((), 2),
    layers.GaussianNoise: ((0.5,), 2),
    layers.AlphaDropout: ((0.5,), 2),
}


def of_shape(axes, seed):
    return normal(2, *(4,) * (axes - 1), seed=seed)


@pytest.mark.parametrize("kind", LINEAR, ids=lambda kind: kind.__name__)
def test_lines_stay_lines(kind):
    arguments, axes = LINEAR[kind]
    assert issubclass(kind, _kinds.LINEAR_LAYERS)
    layer = kind(*arguments)
    first, second = of_shape(axes, 0), of_shape(axes, 1)
    at_ends = [np.asarray(layer(x)) for x in (first, second)]
    between = np.asarray(layer(0.25 * first + 0.75 * second))
    expected = 0.25 * at_ends[0] + 0.75 * at_ends[1]
    np.testing.assert_allclose(between, expected, rtol=1e-4, atol=1e-5)


def test_functions_of_single_elements_see_no_others():
    x = np.linspace(-3, 3, 8, dtype="float32").reshape(2, 4)
    known = [name for name in _kinds.ELEMENTWISE if hasattr(activations, name)]
    assert len(known) > 20
    for name in known:
        function = getattr(activations, name)
        if name == "threshold":
            function = partial(function, threshold=0.5, default_value=-1.0)
        alone = np.reshape([function(x[i, j]) for i, j in np.ndindex(2, 4)], (2, 4))
        np.testing.assert_allclose(function(x), alone, rtol=1e-5, err_msg=name)
    assert "softmax" not in known
