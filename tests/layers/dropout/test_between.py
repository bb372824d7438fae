import keras
import numpy as np

from keras_ext.layers.dropout._between import Between


def test_clips_what_is_outside_and_leaves_the_rest():
    clipped = Between(-1.0, 2.0)(keras.ops.convert_to_tensor([-3.0, -1.0, 0.3, 5.0]))
    np.testing.assert_array_equal(clipped, np.float32([-1.0, -1.0, 0.3, 2.0]))


def test_keeps_the_type_of_the_weight():
    weight = keras.ops.convert_to_tensor([4.0], "float16")
    assert keras.backend.standardize_dtype(Between(0.0, 1.0)(weight).dtype) == "float16"


def test_keras_applies_it_after_each_update():
    layer = keras.layers.Layer()
    weight = layer.add_weight(shape=(2,), constraint=Between(-0.5, 0.5))
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build([weight])
    weight.assign([0.0, 0.4])
    optimizer.apply([keras.ops.convert_to_tensor([9.0, 0.1])])
    np.testing.assert_allclose(weight, [-0.5, 0.3], rtol=1e-6)
