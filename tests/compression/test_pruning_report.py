import keras
import numpy as np

from keras_ext.compression import prune


def test_lists_every_weight_with_the_reason_if_it_is_skipped():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(8, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(),
            layers.Dense(4, name="dense"),
        ]
    )
    report = prune(model, 0.5, m_by_n=(2, 4))
    assert str(report).splitlines() == [
        "weight        size  zeros",
        "conv/kernel     72   0.0%  skipped: its 1 inputs are no multiple of 4",
        "dense/kernel   128  50.0%",
        "all pruned     128  50.0%",
    ]
    row = report.rows[1]
    values = np.array(model.get_layer("dense").kernel)
    assert (row.path, row.shape, row.zeros) == ("dense/kernel", (32, 4), 64)
    assert np.count_nonzero(values) == 64
