import numpy as np

from keras_ext.explain.maps import grad_cam_plus_plus
from tests.explain.maps import captum


def test_is_that_of_grad_cam_for_torch():
    """Which adds 1e-6 below the line."""
    model, x = captum.model(), captum.X
    found = grad_cam_plus_plus(
        model, x, outputs=captum.TARGET, layer="rectified", resize=False
    )
    expected = captum.REFERENCE["plus_plus"]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-6)
