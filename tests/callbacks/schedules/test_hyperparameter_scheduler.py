import copy
import math

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks import HyperparameterScheduler
from tests.thorough import LONG

X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = X[:, :1]


def make_model(**options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(
                3, kernel_regularizer=keras.regularizers.L2(0.5), name="dense"
            ),
            keras.layers.Dropout(0.1, name="dropout"),
            kx.layers.LiveDropout(0.2, name="adaptive_dropout"),
            keras.layers.Dense(1, name="out"),
        ]
    )
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    model.compile(optimizer, "mse", **options)
    return model


def fit(model, callback, epochs=3, **options):
    options = {"batch_size": 8, "verbose": 0, **options}
    return model.fit(X, Y, epochs=epochs, callbacks=[callback], **options).history


def test_drives_models_in_the_model_by_their_paths():
    inner = [
        keras.Sequential([keras.layers.Dropout(0.1, name="drop")], name=name)
        for name in ("a", "b")
    ]
    layers = [keras.Input((4,)), *inner, keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile("sgd", "mse")
    callback = HyperparameterScheduler({"b/drop/rate": lambda epoch: 0.5})
    assert fit(model, callback, epochs=1)["b/drop/rate"] == [0.5]
    assert [x.layers[0].rate for x in inner] == [0.1, 0.5]


def test_functions_keras_schedules_and_tables_drive_what_their_paths_fit():
    model = make_model()
    callback = HyperparameterScheduler(
        {
            "dropout.*/rate": lambda epoch: 0.125 * epoch,
            "dense/.*/l2": keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5),
            "optimizer/weight_decay": [(0, 0.25), (2, 0.75)],
        }
    )
    history = fit(model, callback)
    expected = {
        "dropout/rate": [0.0, 0.125, 0.25],
        "adaptive_dropout/rate": [0.0, 0.125, 0.25],
        "dense/kernel_regularizer/l2": [0.5, 0.25, 0.125],
        "optimizer/weight_decay": [0.25, 0.25, 0.75],
    }
    assert {k: v for k, v in history.items() if k != "loss"} == expected
    assert model.get_layer("dropout").rate == 0.25
    assert type(model.get_layer("dropout").rate) is float
    assert model.optimizer.weight_decay == 0.75
    assert set(kx.hyper_variables(model)) == {"adaptive_dropout/rate"}


def test_the_first_path_that_fits_counts():
    schedules = {"^dropout/rate": [(0, 0.5)], "/rate": [(0, 0.25)]}
    history = fit(make_model(), HyperparameterScheduler(schedules), epochs=1)
    assert history["dropout/rate"] == [0.5]
    assert history["adaptive_dropout/rate"] == [0.25]


@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_per_step_it_is_in_force_for_the_batch(steps_per_execution):
    """The weight decay alone moves the weights, by a factor for each step."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD(1.0, weight_decay=0.0)
    zero = keras.losses.MeanSquaredError()
    model.compile(
        optimizer, zero, loss_weights=0.0, steps_per_execution=steps_per_execution
    )
    before = model.get_weights()[0]
    rates = [0.1, 0.2, 0.3, 0.4, 0.5, 0.25, 0.125, 0.0625]
    callback = HyperparameterScheduler(
        {"optimizer/weight_decay": lambda step: rates[step]}, every="step"
    )
    fit(model, callback, epochs=2)
    used = rates if steps_per_execution == 1 else [r for r in rates[::2] for _ in "ab"]
    factor = math.prod(1 - rate for rate in used)
    np.testing.assert_allclose(model.get_weights()[0], factor * before, rtol=1e-5)


def test_epochs_are_counted_as_fit_does():
    model = make_model()
    callback = HyperparameterScheduler({"dropout/rate": [(0, 0.0), (5, 0.5)]})
    history = fit(model, callback, epochs=6, initial_epoch=4)
    assert history["dropout/rate"] == [0.0, 0.5]
    assert fit(model, copy.deepcopy(callback), epochs=1)["dropout/rate"] == [0.0]


@pytest.mark.thorough(LONG)
def test_works_with_the_callback_that_wraps_the_optimizer():
    model = make_model()
    schedule = HyperparameterScheduler({"optimizer/weight_decay": [(0, 0.5)]})
    clip = kx.callbacks.LayerwiseAdaptiveClipping()
    for callbacks in ([clip, schedule], [schedule, clip]):
        history = model.fit(X, Y, callbacks=callbacks, verbose=0).history
        assert history["optimizer/weight_decay"] == [0.5]
    assert type(model.optimizer) is keras.optimizers.AdamW


def test_after_an_interrupt_the_model_is_plain():
    model = make_model()

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    schedule = HyperparameterScheduler({"dropout/rate": [(0, 0.5)]})
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, callbacks=[schedule, Stop()], verbose=0)
    dropout = model.get_layer("dropout")
    assert type(dropout.rate) is float
    assert "call" not in vars(dropout)
    assert "get_config" not in vars(dropout)


def test_what_was_made_live_for_good_stays_live():
    model = make_model()
    live = kx.make_live(model, include="dropout/rate$", exclude="adaptive")
    fit(model, HyperparameterScheduler({"dropout/rate": [(0, 0.5)]}), epochs=1)
    live["dropout/rate"].assign(0.25)
    assert model.get_layer("dropout").rate == 0.25


def test_says_which_path_fits_nothing():
    model = make_model()
    with pytest.raises(ValueError, match=r"each fits one of.*'dropout/rate'.*'drop/'"):
        fit(model, HyperparameterScheduler({"drop/": [(0, 0.5)], "^out": [(0, 1)]}))
    assert kx.hyper_variables(model).keys() == {"adaptive_dropout/rate"}


def test_says_what_to_use_for_the_learning_rate():
    for path in ("optimizer/learning_rate", "learning_rate$"):
        schedule = HyperparameterScheduler({path: [(0, 0.5)]})
        with pytest.raises(ValueError, match="use keras.callbacks.LearningRateSched"):
            fit(make_model(), schedule)


@pytest.mark.parametrize(
    ("schedules", "message"),
    [
        ({}, r"`schedules` must be a dictionary from paths to schedules"),
        ([("a", 1)], r"`schedules` must be a dictionary"),
        ({"a": 0.5}, r"`schedules\['a'\]` must be a function.*=0.5"),
        ({"a": [(1, 0.5)]}, r"begins at 0"),
        ({"a": [(0, 0.5), (0, 1.0)]}, r"in order"),
        ({"a": [(0, "b")]}, r"`schedules\['a'\]` must be a function"),
    ],
)
def test_rejects_bad_schedules(schedules, message):
    with pytest.raises(ValueError, match=message):
        HyperparameterScheduler(schedules)


def test_rejects_a_bad_period():
    with pytest.raises(
        ValueError, match=r'`every` must be "epoch" or "step".*\'batch\''
    ):
        HyperparameterScheduler({"a": [(0, 1.0)]}, every="batch")
