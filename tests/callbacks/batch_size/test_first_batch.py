import keras
import numpy as np
import pytest

from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext.callbacks.batch_size._first_batch import FirstBatch


class Counts(ScopedCallback):
    def attach(self, scope):
        assert FitScope.present(self.model) is scope
        self.first_batch = FirstBatch(scope)
        self.found = [self.first_batch.read()]

    def on_train_batch_end(self, batch, logs=None):
        self.found.append(self.first_batch.read())


@pytest.mark.parametrize("replicas", [1, 2])
def test_counts_the_first_batch_over_all_replicas(strategies, replicas):
    with strategies(replicas).scope():
        a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
        y = keras.layers.Dense(1)(keras.layers.concatenate([a, b]))
        model = keras.Model({"a": a, "b": b}, y)
        model.compile("sgd", "mse")
    x = {"a": np.ones((10, 2)), "b": np.ones((10, 3))}
    counts = Counts()
    model.fit(x, np.ones((10, 1)), batch_size=4, callbacks=[counts], verbose=0)
    assert counts.found == [0, 4, 4, 4]
