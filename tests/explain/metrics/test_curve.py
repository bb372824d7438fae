import numpy as np
import pytest

from keras_ext.explain.metrics import Curve


def test_areas_of_uneven_steps():
    fractions = np.array([0.0, 0.25, 1.0])
    outputs = np.array([[1.0, 0.0, 4.0], [2.0, 2.0, 2.0]])
    expected = [0.25 * 0.5 + 0.75 * 2.0, 2.0]
    np.testing.assert_allclose(Curve(fractions, outputs).area, expected)
    several = Curve(fractions, np.stack([outputs, -outputs], axis=-1))
    assert several.area.shape == (2, 2)
    assert several.area[0, 1] == pytest.approx(-expected[0])
