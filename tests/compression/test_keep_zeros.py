import keras
import numpy as np

from keras_ext.compression import KeepZeros, prune


def test_zeros_stay_and_others_learn():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 8)).astype("float32")
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    model.compile(keras.optimizers.Adam(0.1, use_ema=True), "mse")
    prune(model, 0.75)
    before = model.get_weights()[0]
    keep = KeepZeros()
    history = model.fit(x, x[:, :4], epochs=3, callbacks=[keep], verbose=0)
    after = model.get_weights()[0]
    np.testing.assert_array_equal(after == 0, before == 0)
    assert (after[before != 0] != before[before != 0]).all()
    assert history.history["sparsity"] == [0.75] * 3
    assert keep.report.sparsity == 0.75
    # Without it they are gone.
    model.fit(x, x[:, :4], epochs=1, verbose=0)
    assert (model.get_weights()[0] != 0).all()


def test_what_was_zero_and_is_restored_stays_zero():
    x = np.ones((8, 4), "float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    model.compile("sgd", "mse")

    class Restore(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.set_weights([np.ones((4, 4)), np.ones(4)])

    prune(model, 0.5)
    model.fit(x, x, callbacks=[KeepZeros(), Restore()], verbose=0)
    assert np.mean(model.get_weights()[0] == 0) == 0.5
