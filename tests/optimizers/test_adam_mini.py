import keras
import numpy as np
import pytest

from keras_ext.optimizers import AdamMini
from tests.optimizers.steps import steps_of


def test_a_unit_keeps_the_proportions_of_its_gradient():
    gradient = np.array([[3.0, 1.0], [4.0, 1.0]])
    (step,) = steps_of(AdamMini(1.0), [gradient], np.zeros((2, 2)))
    of_units = np.sqrt([12.5, 1.0])
    np.testing.assert_allclose(step, -gradient / of_units, rtol=1e-5)


def test_units_are_those_that_it_is_told():
    weight = keras.Variable(np.zeros((5, 3), "float32"), name="embeddings")
    for axes, shape in ((None, (1, 3)), ({"embeddings": (1,)}, (5, 1))):
        optimizer = AdamMini(unit_axes=axes)
        optimizer.build([weight])
        assert optimizer.slots_of(weight)["velocity"].shape == shape
        restored = AdamMini.from_config(optimizer.get_config())
        assert restored.get_config() == optimizer.get_config()


def test_units_are_a_dictionary():
    with pytest.raises(ValueError, match="from weight paths to axes"):
        AdamMini(unit_axes=[0])
