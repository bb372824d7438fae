"""What every callback that stops training must do, whatever its criterion."""

import copy

import keras
import numpy as np
import pytest

from keras_ext.callbacks import (
    DynamicBatchSize,
    EvidenceBasedEarlyStopping,
    GradientDisparityEarlyStopping,
    GradientNormEarlyStopping,
    GradientVarianceEarlyStopping,
    LabelWaveEarlyStopping,
    LayerwiseAdaptiveClipping,
    LayerwiseGradientStopping,
    PrecheltEarlyStopping,
    StopWhen,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4)).astype("float32")
Y = RNG.normal(size=(64, 3)).astype("float32")
DATA = (X, Y)

MAKE = {
    "grad_norm": lambda: GradientNormEarlyStopping(0.9, patience=1),
    "grad_norm, debiased": lambda: GradientNormEarlyStopping(0.9, debias=True),
    "grad_snr": lambda: GradientVarianceEarlyStopping(1e9),
    "grad_evidence": lambda: EvidenceBasedEarlyStopping(),
    "gradient_disparity": lambda: GradientDisparityEarlyStopping(DATA, patience=1),
    "frozen_fraction": lambda: LayerwiseGradientStopping(),
    "generalization_loss": lambda: PrecheltEarlyStopping("gl"),
    "label_changes": lambda: LabelWaveEarlyStopping(DATA, window=1),
    "stop_votes": lambda: StopWhen(
        "any", [GradientVarianceEarlyStopping(1e9), keras.callbacks.EarlyStopping()]
    ),
}
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
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    return model.fit(
        X, Y, epochs=epochs, callbacks=list(callbacks), validation_data=DATA, **options
    )


@every_rule
def test_logs_its_criterion_in_every_epoch_and_never_stops_too_soon(name):
    callback, model = MAKE[name](), make_model()
    optimizer = model.optimizer
    history = fit(model, callback)
    criterion = name.partition(",")[0]
    assert len(history.history[criterion]) == len(history.epoch)
    assert np.isfinite(history.history[criterion][-1])
    if name != "stop_votes":
        assert len(history.epoch) >= 5
    assert model.optimizer is optimizer
    stopped = len(history.epoch) < 7
    assert (callback.stopped_by is not None) >= stopped
    if stopped:
        assert callback.stopped_epoch == history.epoch[-1]


@every_rule
@pytest.mark.parametrize("used", [False, True])
def test_a_copy_and_a_second_fit_are_like_the_first(name, used):
    callback = MAKE[name]()
    if used:
        fit(make_model(), callback, epochs=2)
    copied = copy.deepcopy(callback)
    one, two = (fit(make_model(), c).history for c in (callback, copied))
    assert one.keys() == two.keys()
    for key, values in one.items():
        assert values == pytest.approx(two[key], nan_ok=True)
    assert callback.stopped_by == copied.stopped_by


@every_rule
def test_min_epochs_are_those_of_this_fit(name):
    callback = MAKE[name]()
    history = fit(make_model(), callback, initial_epoch=3, epochs=8)
    if name != "stop_votes":
        assert history.epoch == [3, 4, 5, 6, 7]


# Of the others the replicas are samples: see the tests of GradientMoments.
SAME = ["grad_norm", "gradient_disparity", "frozen_fraction", "label_changes"]


@pytest.mark.parametrize("name", SAME)
def test_two_replicas_log_what_one_does(name, strategies):
    logged = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            model = make_model()
        logged.append(fit(model, MAKE[name](), epochs=3).history[name])
    np.testing.assert_allclose(*logged, rtol=1e-3, atol=1e-5)


def test_all_of_them_together_with_others_under_xla():
    callbacks = [make() for make in MAKE.values()]
    others = [
        LayerwiseAdaptiveClipping(0.05),
        DynamicBatchSize([(1, 2)], batch_size=8),
    ]
    model = make_model(jit_compile=True)
    history = fit(model, *others, *callbacks, epochs=4).history
    names = {name.partition(",")[0] for name in MAKE}
    assert names | {"batch_size", "clipped_fraction"} <= history.keys()
    assert type(model.optimizer) is keras.optimizers.SGD


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_all_of_them_in_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    history = fit(make_model(), *(make() for make in MAKE.values()), epochs=3).history
    for name in ("grad_norm", "grad_snr", "gradient_disparity", "grad_evidence"):
        assert np.isfinite(history[name]).all()


def test_a_model_that_is_built_by_its_first_step():
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    history = fit(model, *(make() for make in MAKE.values()), epochs=2).history
    assert np.isfinite(history["grad_snr"]).all()
