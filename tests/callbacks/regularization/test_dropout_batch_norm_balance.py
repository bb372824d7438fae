import copy

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks import DropoutBatchNormBalance
from tests.thorough import LONG, thorough_but

RNG = np.random.default_rng(0)
MEAN, STD = 1.0, 2.0
X = RNG.normal(MEAN, STD, size=(3000, 6)).astype("float32")
Y = X[:, :1]


def make_model(*layers, **options):
    model = keras.Sequential(
        [keras.Input((6,)), *layers, keras.layers.Dense(1, name="out")]
    )
    model.compile(keras.optimizers.SGD(1e-4), "mse", **options)
    return model


def norm(name="norm"):
    return keras.layers.BatchNormalization(name=name)


def fit(model, callback, **options):
    options = {"epochs": 1, "batch_size": 500, "verbose": 0, **options}
    return model.fit(X, Y, callbacks=[callback], **options).history


def shift(rate):
    """Dropout scales what it keeps by 1 / (1 - rate), and adds to the variance
    rate / (1 - rate) times the mean square."""
    return STD**2 / (STD**2 + rate / (1 - rate) * (STD**2 + MEAN**2))


@pytest.mark.parametrize("rate", thorough_but([0.5], [0.1, 0.5]))
@pytest.mark.parametrize(
    "make",
    [
        lambda rate: keras.layers.Dropout(rate, name="drop"),
        lambda rate: keras.layers.GaussianDropout(rate, name="drop"),
        lambda rate: kx.layers.LiveDropout(rate, name="drop"),
    ],
    ids=["Dropout", "GaussianDropout", "AdaptiveDropout"],
)
def test_the_ratio_is_that_of_theory(make, rate):
    model = make_model(make(rate), norm())
    callback = DropoutBatchNormBalance((X, Y), max_rows=3000)
    history = fit(model, callback)
    assert callback.ratios == {("drop", "norm"): pytest.approx(shift(rate), rel=0.03)}
    assert history["variance_ratio"] == [callback.ratios["drop", "norm"]]


def test_rows_of_fit_are_taken_as_if_they_were_given():
    found = []
    for data in (None, (X, Y)):
        layer = norm()
        drop = keras.layers.Dropout(0.5, seed=0, name="drop")
        keras.utils.set_random_seed(0)
        model = make_model(drop, layer, run_eagerly=True)
        callback = DropoutBatchNormBalance(data, max_rows=100)
        fit(model, callback)
        found.append(callback.ratios["drop", "norm"])
    assert found[0] == found[1]


@pytest.mark.thorough(LONG)
def test_every_pair_that_has_an_influence_and_no_other():
    model = make_model(
        norm("first"),
        keras.layers.Dropout(0.5, name="a"),
        keras.layers.Dense(5),
        norm("second"),
        keras.layers.Dropout(0.3, name="b"),
        keras.layers.GaussianNoise(1.0, name="noise"),
        norm("third"),
    )
    callback = DropoutBatchNormBalance((X, Y))
    history = fit(model, callback)
    behind = {("a", "second"), ("a", "third"), ("b", "third"), ("noise", "third")}
    assert set(callback.ratios) <= behind
    assert set(callback.ratios) >= behind - {("a", "third")}
    # Noise of deviation 1 on what normalization gave deviation 1.
    assert callback.ratios["noise", "third"] == pytest.approx(0.5, rel=0.1)
    # The variance of `a` is normalized away before it comes to the third.
    assert abs(np.log(callback.ratios.get(("a", "third"), 1.0))) < 0.05
    smallest = min(callback.ratios.values())
    assert history["variance_ratio"][-1] == smallest
    lines = callback.report().splitlines()
    assert len(lines) == len(callback.ratios) + 1
    assert f"is {smallest:.2f} of that in training" in lines[0]
    assert "re-estimated" in lines[-1]


@pytest.mark.thorough(LONG)
def test_measuring_changes_nothing_about_the_training():
    weights = []
    for with_callback in (True, False):
        keras.utils.set_random_seed(0)
        model = make_model(keras.layers.Dropout(0.5), norm())
        callback = (
            DropoutBatchNormBalance((X, Y), recalibrate=False)
            if with_callback
            else keras.callbacks.Callback()
        )
        fit(model, callback, epochs=3)
        weights.append(model.get_weights())
    for ours, plain in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, plain)


def test_recalibrates_at_the_end_only_if_asked():
    variances = []
    for again in (True, False):
        layer = keras.layers.BatchNormalization(momentum=0.8)
        model = make_model(keras.layers.Dropout(0.5), layer)
        fit(model, DropoutBatchNormBalance((X, Y), recalibrate=again), epochs=6)
        variances.append(np.asarray(layer.moving_variance))
    np.testing.assert_allclose(variances[0], X.var(0), rtol=1e-3)
    np.testing.assert_allclose(X.var(0) / variances[1], shift(0.5), rtol=0.2)


def test_every_so_many_epochs_the_logs_repeat_the_last():
    model = make_model(keras.layers.Dropout(0.5), norm())
    ratios = fit(model, DropoutBatchNormBalance((X, Y), every_epochs=2), epochs=3)
    first, second, third = ratios["variance_ratio"]
    assert first == second != third


def test_a_model_that_is_built_by_its_first_step():
    model = keras.Sequential(
        [keras.layers.Dropout(0.5, name="drop"), norm(), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    callback = DropoutBatchNormBalance((X, Y))
    fit(model, callback)
    assert set(callback.ratios) == {("drop", "norm")}


def test_a_rate_of_zero_has_no_influence():
    model = make_model(keras.layers.Dropout(0.0), norm())
    callback = DropoutBatchNormBalance((X, Y))
    assert fit(model, callback)["variance_ratio"] == [1.0]
    assert callback.ratios == {}
    assert callback.report() == "No dropout has influence on a BatchNormalization."


def test_follows_a_rate_that_is_live():
    model = make_model(keras.layers.Dropout(0.0, name="drop"), norm())
    scheduler = kx.callbacks.HyperparameterScheduler(
        {"drop/rate": [(0, 0.0), (1, 0.5)]}
    )
    callback = DropoutBatchNormBalance((X, Y), max_rows=3000)
    history = model.fit(
        X, Y, 500, epochs=2, callbacks=[scheduler, callback], verbose=0
    ).history
    assert history["variance_ratio"] == pytest.approx([1.0, shift(0.5)], rel=0.03)


@pytest.mark.thorough(LONG)
def test_two_replicas_jit_and_a_copy(strategies):
    callback = DropoutBatchNormBalance((X, Y))
    fit(make_model(keras.layers.Dropout(0.5), norm(), jit_compile=True), callback)
    copied = copy.deepcopy(callback)
    with strategies(2).scope():
        model = make_model(keras.layers.Dropout(0.5), norm())
    ratio = fit(model, copied)["variance_ratio"]
    assert ratio == pytest.approx([shift(0.5)], rel=0.1)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "one with a trainable BatchNormalization"),
        ([norm("n")], "`model` must be one with a dropout layer"),
    ],
)
def test_needs_both_kinds_of_layers(layers, message):
    with pytest.raises(ValueError, match=message):
        fit(make_model(*layers), DropoutBatchNormBalance((X, Y)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_data": X}, "`train_data` must be a tuple"),
        ({"max_rows": 0}, "`max_rows` must be an integer >= 1. Received"),
        ({"every_epochs": 0}, "`every_epochs` must be an integer >= 1. Received"),
        ({"recalibrate": 1}, "`recalibrate` must be True or False. Received"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DropoutBatchNormBalance(**{"train_data": (X, Y), **arguments})
