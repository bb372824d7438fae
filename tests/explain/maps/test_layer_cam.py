import numpy as np

from keras_ext.explain.maps import layer_cam
from tests.explain.maps import captum


def test_is_that_of_grad_cam_for_torch():
    model, x = captum.model(), captum.X
    found = layer_cam(model, x, outputs=captum.TARGET, layer="rectified", resize=False)
    np.testing.assert_allclose(found, captum.REFERENCE["layer_cam"], atol=1e-6)
