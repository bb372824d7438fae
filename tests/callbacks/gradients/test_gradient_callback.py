import keras
import numpy as np
import pytest

import keras_ext
from keras_ext.callbacks import (
    DynamicBatchSize,
    GradientCallback,
    GradientNormEarlyStopping,
    LayerwiseAdaptiveClipping,
)
from keras_ext.gradients import SkipNonFinite, SkipSpikes
from tests.thorough import LONG

Y = np.ones((64, 1))


def make_model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def inputs_with(bad):
    x = np.ones((64, 2))
    x[20] = bad
    return x


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_skips_and_counts_nonfinite_gradients(bad):
    model = make_model()
    history = model.fit(
        inputs_with(bad),
        Y,
        batch_size=16,
        epochs=2,
        shuffle=False,
        callbacks=[LayerwiseAdaptiveClipping()],
        verbose=0,
    )
    assert history.history["nonfinite_steps"] == [1, 2]
    assert np.isfinite(model.get_weights()[0]).all()
    assert int(model.optimizer.iterations) == 2 * 3


def test_raises_if_told_to_and_gives_the_model_back():
    model = make_model()
    optimizer = model.optimizer
    message = r"began in update \d, with the gradient of '.*/dense/bias'.* 1 of 4"
    with pytest.raises(FloatingPointError, match=message):
        model.fit(
            inputs_with(np.nan),
            Y,
            batch_size=16,
            epochs=9,
            callbacks=[LayerwiseAdaptiveClipping(nonfinite="raise")],
            verbose=0,
        )
    assert model.optimizer is optimizer
    assert np.isfinite(model.get_weights()[0]).all()


def test_raises_within_fifty_batches():
    class Last(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.batch = batch

    x = np.ones((400, 2))
    x[10] = np.nan
    last = Last()
    with pytest.raises(FloatingPointError):
        make_model().fit(
            x,
            np.ones((400, 1)),
            batch_size=2,
            shuffle=False,
            callbacks=[LayerwiseAdaptiveClipping(nonfinite="raise"), last],
            verbose=0,
        )
    assert last.batch == 49


def test_asks_for_an_install_method():
    with pytest.raises(NotImplementedError, match=r"must override install\(\)"):
        GradientCallback().set_model(make_model())


def test_rejects_unknown_actions():
    message = '`nonfinite` must be "skip", "raise" or "recover".*nonfinite=.stop'
    with pytest.raises(ValueError, match=message):
        LayerwiseAdaptiveClipping(nonfinite="stop")


class LastBatch(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.batches = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.batches += 1


@pytest.mark.parametrize(("size", "seen"), [(400, 50), (40, 20)])
@pytest.mark.thorough(LONG)
def test_what_a_transform_objects_to_ends_the_training(size, seen):
    """At the next look: after 50 batches, or at the end of the epoch."""
    rule = SkipSpikes(warmup_steps=2, max_consecutive=3)
    x = np.ones((size, 2))
    x[10:20] = np.nan
    model, last = make_model(), LastBatch()
    optimizer = model.optimizer
    with pytest.raises(RuntimeError, match=r"began in update 6, .* '.*/bias'"):
        model.fit(
            x,
            np.ones((size, 1)),
            batch_size=2,
            shuffle=False,
            callbacks=[LayerwiseAdaptiveClipping(rule=rule), last],
            verbose=0,
        )
    assert last.batches == seen
    assert model.optimizer is optimizer


@pytest.mark.thorough(LONG)
def test_each_of_several_callbacks_may_ask_for_an_error():
    callbacks = [
        LayerwiseAdaptiveClipping(nonfinite="raise"),
        GradientNormEarlyStopping(nonfinite="raise"),
        DynamicBatchSize([(0, 2)], batch_size=16),
    ]
    with pytest.raises(FloatingPointError, match="began in update 1, .* 1 of 2"):
        make_model().fit(
            inputs_with(np.nan), Y, 16, shuffle=False, callbacks=callbacks, verbose=0
        )


def test_the_step_looks_once_for_all_who_ask():
    model = make_model()
    for callback in (
        LayerwiseAdaptiveClipping(nonfinite="raise"),
        GradientNormEarlyStopping(nonfinite="raise"),
    ):
        callback.set_model(model)
    looks = [t for t in model.optimizer.transforms if isinstance(t, SkipNonFinite)]
    assert len(looks) == 1


@pytest.mark.parametrize("name", keras_ext.callbacks.__all__)
def test_no_callback_makes_keras_wait_for_every_step(name):
    # Keras fetches the metrics after each step for whoever has these hooks.
    callback = getattr(keras_ext.callbacks, name)
    if isinstance(callback, type) and name != "StopWhen":  # which asks its members
        for hook in ("on_batch_end", "on_train_batch_end"):
            assert getattr(callback, hook) is getattr(keras.callbacks.Callback, hook)
