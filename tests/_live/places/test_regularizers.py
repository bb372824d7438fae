import keras
import numpy as np

from keras_ext._live.places._regularizers import of_regularizers
from keras_ext.regularizers import SparseGroupLasso


def test_strengths_are_found_by_the_names_of_the_layer():
    layer = keras.layers.Dense(
        1,
        kernel_regularizer=keras.regularizers.L1L2(0.25, 0.5),
        activity_regularizer=keras.regularizers.L2(0.125),
    )
    found = {h.path: float(h.value) for h in of_regularizers(layer, "out", set())}
    assert found == {
        "out/kernel_regularizer/l1": 0.25,
        "out/kernel_regularizer/l2": 0.5,
        "out/activity_regularizer/l2": 0.125,
    }


def test_a_strength_that_is_put_there_is_in_the_loss():
    layer = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.5))
    layer.build((None, 2))
    layer.kernel.assign(np.array([[1.0], [2.0]]))
    (found,) = of_regularizers(layer, "", set())
    found.places[0](2.0)
    assert float(layer.losses[0]) == 2.0 * (1.0 + 4.0)


def test_a_shared_one_is_found_once():
    shared, seen = keras.regularizers.OrthogonalRegularizer(0.5), set()
    layers = [keras.layers.Dense(1, kernel_regularizer=shared) for _ in range(2)]
    paths = [[h.path for h in of_regularizers(x, "x", seen)] for x in layers]
    assert paths == [["x/kernel_regularizer/factor"], []]


def test_what_is_live_by_itself_is_left_alone():
    layer = keras.layers.Dense(1, kernel_regularizer=SparseGroupLasso(0.5))
    assert list(of_regularizers(layer, "", set())) == []
