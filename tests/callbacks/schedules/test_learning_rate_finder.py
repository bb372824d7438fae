import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks import LearningRateFinder
from tests.diagnostics.test_find_batch_size import X, Y
from tests.thorough import MATRIX
from tests.unbuilt import Unbuilt

FAST = {"steps": 30, "low": 1e-4, "high": 10.0}


def make_model(optimizer="sgd"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


def rate_of(model):
    return float(model.optimizer.learning_rate)


@pytest.mark.thorough(MATRIX)
@pytest.mark.parametrize("split", [0.25, None])
def test_trains_with_what_is_found_on_the_data_of_fit(split):
    """As if the rate had been found, and set, before."""
    weights = []
    found = None
    for callback in (False, True):
        model = make_model()
        options = {"batch_size": 8, "verbose": 0, "validation_split": split or 0.0}
        if callback:
            finder = LearningRateFinder(rule="minimum", **FAST)
            history = model.fit(X, Y, callbacks=[finder], **options).history
            assert finder.result.suggestions == found.suggestions
            assert history["learning_rate"] == [pytest.approx(rate_of(model))]
        else:
            rows = 72 if split else 96
            found = kx.diagnostics.find_learning_rate(
                model, X[:rows], Y[:rows], batch_size=8, **FAST
            )
            model.optimizer.learning_rate = found.suggestions["minimum"]
            model.fit(X, Y, **options)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("is_built", [True, False])
def test_nothing_of_the_test_stays_where_the_fit_has_built_nothing_yet(is_built):
    """The slots of Adam did, and weights that the first batch builds."""
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            state = [*self.model.variables, *self.model.optimizer.variables]
            seen.append({v.name: np.abs(v.numpy()).max() for v in state})

    model = make_model("adam") if is_built else Unbuilt()
    model.compile("adam", "mse")
    finder = LearningRateFinder(**FAST)
    model.fit(X, Y, batch_size=8, callbacks=[finder, Look()], verbose=0)
    (state,) = seen
    moments = [n for n in state if n.endswith(("momentum", "velocity"))]
    assert [state[name] for name in (*moments, "iteration", "bias")] == [0.0] * 6
    assert 0 < state["kernel"] < 3


@pytest.mark.thorough(MATRIX)
def test_a_training_that_goes_on_keeps_its_rate(tmp_path):
    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    data = (X[:48], Y[:48])
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    model = make_model()
    callbacks = [LearningRateFinder(data, **FAST), backup, Kill()]
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=2, callbacks=callbacks, verbose=0)
    again = make_model()
    callbacks = [LearningRateFinder(data, rule="steepest", **FAST), backup]
    again.fit(X, Y, epochs=2, callbacks=callbacks, verbose=0)
    assert rate_of(again) == pytest.approx(rate_of(model))


def test_says_what_to_do_with_a_schedule_and_with_data_that_are_gone():
    model = make_model(keras.optimizers.SGD(kx.schedules.Rex(0.1, 5)))
    with pytest.raises(
        ValueError, match=r"learning_rate` must be a number.*make the s"
    ):
        model.fit(X, Y, callbacks=[LearningRateFinder()], verbose=0)
    model = make_model()
    batches = ((X[:8], Y[:8]) for _ in range(9))
    finder = LearningRateFinder()
    with pytest.raises(ValueError, match="cannot be read a second time"):
        model.fit(batches, callbacks=[finder], shuffle=False, verbose=0)
    with pytest.raises(ValueError, match=r"`train_data` must be \(x, y\)"):
        LearningRateFinder(X)
