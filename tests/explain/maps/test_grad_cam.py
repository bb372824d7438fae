import numpy as np
import pytest

from keras_ext.explain.maps import grad_cam
from tests.explain.maps import captum
from tests.thorough import LONG


@pytest.mark.thorough(LONG)
def test_is_that_of_captum():
    model, x = captum.model(), captum.X
    for layer in ("rectified", model.get_layer("rectified")):
        found = grad_cam(model, x, outputs=captum.TARGET, layer=layer, resize=False)
        np.testing.assert_allclose(found, captum.REFERENCE["grad_cam"], atol=1e-6)
    found = grad_cam(model, x, outputs=captum.TARGET, layer="rectified")
    np.testing.assert_allclose(found, captum.REFERENCE["grad_cam_resized"], atol=1e-6)


def test_without_a_name_it_is_the_last_layer_that_gives_images():
    model, x = captum.model(), captum.X
    found = grad_cam(model, x, outputs=captum.TARGET, resize=False)
    named = grad_cam(model, x, outputs=captum.TARGET, layer="pooled", resize=False)
    assert found.shape == (3, 2, 2)
    np.testing.assert_array_equal(found, named)
