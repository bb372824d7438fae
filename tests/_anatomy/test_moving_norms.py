import keras
import numpy as np

from keras_ext._anatomy._moving_norms import moving_norms


def test_they_are_those_whose_statistics_a_training_moves():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    fixed = keras.layers.BatchNormalization(trainable=False)
    model = keras.Sequential([keras.Input((4,)), inner, fixed, keras.layers.Dense(1)])
    norms = {"inner": inner.layers[0], "fixed": fixed}
    before = {name: np.array(x.moving_mean) for name, x in norms.items()}
    model(np.ones((8, 4), "float32"), training=True)
    moved = [x for n, x in norms.items() if np.any(x.moving_mean != before[n])]
    assert moving_norms(model) == moved == [norms["inner"]]
