import keras
import numpy as np
import pytest

from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback


class Joins(ScopedCallback):
    def attach(self, scope):
        self.seen = FitScope.present(self.model) is scope


def test_joins_for_one_fit():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    callbacks = [Joins(), Joins()]
    model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0, callbacks=callbacks)
    assert callbacks[0].seen
    assert callbacks[0].scope is callbacks[1].scope
    assert FitScope.present(model) is None


def test_a_subclass_says_what_it_needs():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    with pytest.raises(NotImplementedError, match=r"ScopedCallback must override att"):
        ScopedCallback().set_model(model)
    assert FitScope.present(model) is None
