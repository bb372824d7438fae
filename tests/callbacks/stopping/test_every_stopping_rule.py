"""What every callback that stops training must do, whatever its criterion."""

import copy
import functools
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.callbacks import (
    DynamicBatchSize,
    EvidenceBasedEarlyStopping,
    FreezeConverged,
    GradientDisparityEarlyStopping,
    GradientNormEarlyStopping,
    LabelWaveEarlyStopping,
    LayerwiseAdaptiveClipping,
    LearningCurveEarlyStopping,
    PrecheltEarlyStopping,
    StopWhen,
)
from tests.rewind import rewound
from tests.thorough import LONG, thorough_but

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4)).astype("float32")
Y = RNG.normal(size=(64, 3)).astype("float32")
DATA = (X, Y)
# Arrays are made into such datasets in each `fit`, which takes longer.
BATCHES = tf.data.Dataset.from_tensor_slices(DATA).batch(8)
VALIDATION = tf.data.Dataset.from_tensor_slices(DATA).batch(32)

MAKE = {
    "mean_gradient_norm": lambda: GradientNormEarlyStopping(
        0.9, patience=1, start_from_epoch=0
    ),
    "mean_gradient_norm, debiased": lambda: GradientNormEarlyStopping(
        0.9, debias=True, start_from_epoch=0
    ),
    "gradient_evidence": lambda: EvidenceBasedEarlyStopping(start_from_epoch=0),
    "gradient_disparity": lambda: GradientDisparityEarlyStopping(DATA, patience=1),
    "frozen_fraction": lambda: FreezeConverged(),
    "generalization_loss": lambda: PrecheltEarlyStopping("gl"),
    "label_changes": lambda: LabelWaveEarlyStopping(DATA, window=1),
    "stop_votes": lambda: StopWhen(
        "any", [EvidenceBasedEarlyStopping(), keras.callbacks.EarlyStopping()]
    ),
}


def watching(*names):
    """Those that only look on, so that none of them ends a short training."""
    callbacks = [MAKE[name]() for name in names or MAKE]
    for callback in callbacks:
        callback.start_from_epoch = 99
    return callbacks


every_rule = pytest.mark.parametrize("name", MAKE)


def make_model(**options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, "relu"),
            keras.layers.Dense(3, name="head"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.05, momentum=0.5), "mse", **options)
    return model


def fit(model, *callbacks, epochs=7, **options):
    options = {"shuffle": False, "verbose": 0, **options}
    return model.fit(BATCHES, epochs=epochs, callbacks=list(callbacks), **options)


model_as_new = rewound(make_model)


def fit_alone(name, callback, **options):
    """With validation data only for those who look at it: it costs as much again."""
    model = model_as_new()
    optimizer = model.optimizer
    if name in ("generalization_loss", "stop_votes"):
        options["validation_data"] = VALIDATION
    history = fit(model, callback, **options)
    assert model.optimizer is optimizer
    return history


@functools.cache
def first_fit(name):
    """Returns the history, who stopped it, and the callback, now a used one."""
    callback = MAKE[name]()
    history = fit_alone(name, callback)
    return history, (callback.stopped_epoch, callback.stopped_by), callback


@functools.cache
def later_fit(name):
    """Returns the history of another one, with the same callback, and who stopped it.

    It begins three epochs later.
    """
    callback = first_fit(name)[-1]
    history = fit_alone(name, callback, initial_epoch=3, epochs=10)
    return history, callback.stopped_by


@every_rule
def test_logs_its_criterion_in_every_epoch(name):
    history, (stopped_epoch, stopped_by), _ = first_fit(name)
    criterion = name.partition(",")[0]
    assert len(history.history[criterion]) == len(history.epoch)
    assert np.isfinite(history.history[criterion][-1])
    stopped = len(history.epoch) < 7
    assert (stopped_by is not None) >= stopped
    if stopped:
        assert stopped_epoch == history.epoch[-1]


@every_rule
def test_a_later_fit_is_like_the_first(name):
    assert_like_the_first(name, *later_fit(name))


def assert_like_the_first(name, history, stopped_by):
    first, (_, first_stopped_by), _ = first_fit(name)
    assert history.history.keys() == first.history.keys()
    for key, values in first.history.items():
        assert values == pytest.approx(history.history[key], nan_ok=True)
    assert stopped_by == first_stopped_by


# One that measures in the step, one with data of its own, and one of several.
REPRESENTATIVE = ("mean_gradient_norm", "gradient_disparity", "stop_votes")


@pytest.mark.parametrize("name", thorough_but(REPRESENTATIVE, MAKE))
@pytest.mark.parametrize("used", thorough_but([True], [False, True]))
def test_a_copy_and_a_second_fit_are_like_the_first(name, used):
    callback = first_fit(name)[-1] if used else MAKE[name]()
    copied = copy.deepcopy(callback)
    history = fit_alone(name, copied)
    assert_like_the_first(name, history, copied.stopped_by)
    assert_like_the_first(name, *later_fit(name))


# Of the others the replicas are samples: see the tests of GradientMoments.
SAME = ["mean_gradient_norm", "gradient_disparity", "frozen_fraction", "label_changes"]


@pytest.fixture(scope="module")
def on_one_and_two_replicas(strategies):
    """What is logged, by all of them together: none ends so short a training."""
    logged = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            model = make_model()
        history = fit(model, *watching(*SAME), epochs=3)
        logged.append(history.history)
    return logged


@pytest.mark.parametrize("name", SAME)
@pytest.mark.thorough(LONG)
def test_two_replicas_log_what_one_does(name, on_one_and_two_replicas):
    one, two = on_one_and_two_replicas
    assert len(one[name]) == 3
    np.testing.assert_allclose(one[name], two[name], rtol=1e-3, atol=1e-5)


@pytest.mark.thorough(LONG)
def test_all_of_them_together_with_others_under_xla():
    callbacks = watching()
    others = [
        LayerwiseAdaptiveClipping(0.05),
        DynamicBatchSize([(1, 2)], batch_size=8),
    ]
    model = make_model(jit_compile=True)
    history = fit(
        model, *others, *callbacks, epochs=2, validation_data=VALIDATION
    ).history
    names = {name.partition(",")[0] for name in MAKE}
    assert names | {"batch_size", "clipped_fraction"} <= history.keys()
    assert type(model.optimizer) is keras.optimizers.SGD


@pytest.mark.parametrize(
    "policy", thorough_but(["mixed_float16"], ["mixed_float16", "mixed_bfloat16"])
)
def test_all_of_them_in_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    callbacks = watching()
    history = fit(
        make_model(), *callbacks, epochs=3, validation_data=VALIDATION
    ).history
    for name in (
        "mean_gradient_norm",
        "gradient_disparity",
        "gradient_evidence",
    ):
        assert np.isfinite(history[name]).all()


def test_a_model_that_is_built_by_its_first_step():
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    callbacks = watching()
    history = fit(model, *callbacks, epochs=2, validation_data=VALIDATION).history
    assert np.isfinite(history["gradient_evidence"]).all()


WITH_DATA = (GradientDisparityEarlyStopping, LabelWaveEarlyStopping)
RULES = [GradientNormEarlyStopping, EvidenceBasedEarlyStopping, *WITH_DATA]
RULES += [PrecheltEarlyStopping, FreezeConverged, LearningCurveEarlyStopping]
SHARED = {
    "patience": (0, 1.5, True),
    "start_from_epoch": (-1, None),
    "restore_best_weights": (1, "yes"),
    "verbose": (2, "auto"),
}


def arguments_of(rule):
    return inspect.signature(rule).parameters


@pytest.mark.parametrize("rule", RULES)
def test_rejects_bad_values_of_the_arguments_that_all_share(rule):
    data = (DATA,) if rule in WITH_DATA else ()
    for name in SHARED.keys() & arguments_of(rule).keys():
        for value in SHARED[name]:
            with pytest.raises(ValueError, match=f"`{name}` must be .* Received"):
                rule(*data, **{name: value})


@pytest.mark.parametrize("name", ["start_from_epoch", "verbose"])
def test_says_the_same_of_the_same_argument(name):
    described = set()
    for rule in RULES:
        if name in arguments_of(rule):
            text = inspect.getdoc(rule).partition(f"    {name}: ")[2]
            described.add(text.partition("Defaults to")[0])
    assert len(described) == 1


@pytest.mark.parametrize(
    "rule",
    [
        EvidenceBasedEarlyStopping(),
        GradientNormEarlyStopping(0.5, relative=False),
        LearningCurveEarlyStopping(),
        PrecheltEarlyStopping("gl"),
        PrecheltEarlyStopping("pq"),
    ],
    ids=repr,
)
def test_the_verdict_is_another_one_beyond_the_limit_of_the_picture(rule):
    (limit,) = StopWhen("any", [rule]).limits().values()
    verdicts = [rule.verdict(limit + step) is None for step in (-1e-3, 1e-3)]
    assert sorted(verdicts) == [False, True]


def test_the_limit_of_a_share_of_the_peak_follows_the_peak():
    stop = MAKE["mean_gradient_norm"]()
    history = fit(make_model(), stop).history["mean_gradient_norm"]
    limit, *others = stop.limits().values()
    np.testing.assert_allclose(limit, 0.9 * max(history))
    assert others == []
    assert GradientNormEarlyStopping(trend=10).limits() == {}
