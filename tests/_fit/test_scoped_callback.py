import keras
import numpy as np
import pytest

from keras_ext import callbacks as kc
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
    assert callbacks[0].fit_scope is callbacks[1].fit_scope
    assert FitScope.present(model) is None


def test_a_subclass_says_what_it_needs():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    with pytest.raises(NotImplementedError, match=r"ScopedCallback must override att"):
        ScopedCallback().set_model(model)
    assert FitScope.present(model) is None


DATA = np.ones((4, 1), "float32"), np.ones((4, 1), "float32")


@pytest.mark.parametrize(
    ("callback", "name", "value"),
    [
        (kc.AdaptiveDropout(DATA, DATA), "target_gap", 0.5),
        (kc.AdaptiveDropout(DATA, DATA), "max_rate", 0.5),
        (kc.AdaptiveDropout(DATA, DATA), "min_progress", 0.5),
        (kc.AdaptiveRegularization(DATA, DATA), "target_gap", 0.5),
        (kc.AdaptiveRegularization(DATA, DATA), "span", 1.0),
        (kc.AdaptiveRegularization(DATA, DATA), "rule", "gap"),
        (kc.FreezeConverged(), "include", "dense"),
        (kc.GradientMonitor(), "path", "rows.csv"),
        (kc.LayerwiseAdaptiveClipping(), "exclude", "bias"),
        (kc.LayerwiseDecay(), "layers", ["dense"]),
        (kc.LocalSGD(), "average_state", True),
    ],
)
def test_what_is_not_looked_at_again_cannot_be_set(callback, name, value):
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dropout(0.1), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    before = getattr(callback, name)
    callbacks = keras.callbacks.CallbackList([callback], model=model, epochs=1)
    callbacks.on_train_begin()
    with pytest.raises(ValueError, match=f"`{name}` must be left at .*before `fit`"):
        setattr(callback, name, value)
    assert getattr(callback, name) == before
    callbacks.on_train_end()
    setattr(callback, name, value)
