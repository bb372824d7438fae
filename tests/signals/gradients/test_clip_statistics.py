"""What a clipping rule is said to have done, against what it did."""

import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import AdaptiveClip, ClipByNorm, ClipByValue
from keras_ext.optimizers import GradientPipeline
from keras_ext.signals import ClipStatistics
from tests.streams import STREAM, WEIGHTS, norms_of, variables_of
from tests.thorough import LONG, thorough_but


def run(clip, smoothing=0.95, stream=STREAM, **function_options):
    statistics = ClipStatistics(clip, smoothing=smoothing)
    optimizer = GradientPipeline(
        keras.optimizers.SGD(0.0), [clip], signals=[statistics]
    )
    variables = variables_of(WEIGHTS)
    optimizer.build(variables)

    @tf.function(autograph=False, **function_options)
    def step(*gradients):
        optimizer.apply(gradients, variables)

    for gradients in zip(*stream.values(), strict=True):
        step(*map(tf.constant, gradients))
    return statistics


def smoothed(values, smoothing):
    """The average with weights that fall by the factor `smoothing`, as sums."""
    weights = smoothing ** np.arange(len(values))[::-1]
    return np.sum(weights * values) / np.sum(weights)


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
@pytest.mark.parametrize("smoothing", [0.0, 0.9])
def test_norms_thresholds_and_fractions_of_each_weight(smoothing, jit_compile):
    values = run(ClipByNorm(2.0), smoothing, jit_compile=jit_compile).read()
    assert values["samples"] == 50
    assert set(values["per_weight"]) == set(STREAM)
    fractions = []
    for name, gradients in STREAM.items():
        norms = norms_of(gradients)
        fractions.append(smoothed(norms > 2.0, smoothing))
        of_weight = values["per_weight"][name]
        assert of_weight["norm"] == pytest.approx(norms[-1], rel=1e-5)
        assert of_weight["threshold"] == 2.0
        assert of_weight["clipped_fraction"] == pytest.approx(fractions[-1], abs=1e-5)
    assert values["clipped_fraction"] == pytest.approx(np.mean(fractions), abs=1e-5)


def test_units_are_summed_up_for_their_weight():
    clip = ClipByNorm(1.0, per="unit")
    values = run(clip, 0.0)
    kernel = STREAM["hidden/kernel"][-1]
    norms = np.linalg.norm(np.float64(kernel), axis=0)
    of_weight = values.read()["per_weight"]["hidden/kernel"]
    assert of_weight["norm"] == pytest.approx(norms.mean(), rel=1e-5)
    assert of_weight["clipped_fraction"] == pytest.approx(
        np.mean(norms > 1.0), abs=1e-5
    )
    # All units count alike: three of the first kernel, one bias, two of the second.
    head = np.linalg.norm(np.float64(STREAM["head/kernel"][-1]), axis=0)
    bias = np.linalg.norm(np.float64(STREAM["hidden/bias"][-1]))
    every = [*norms, bias, *head]
    fraction = np.mean(np.array(every) > 1.0)
    assert values.read()["clipped_fraction"] == pytest.approx(fraction, abs=1e-5)


@pytest.mark.parametrize(
    ("per", "names"), [("layer", {"hidden", "head"}), ("global", {"global"})]
)
def test_larger_groups_have_their_names(per, names):
    values = run(ClipByNorm(per=per)).read()
    assert set(values["per_weight"]) == names


def test_excluded_weights_do_not_appear():
    values = run(AdaptiveClip(0.1, exclude="head")).read()
    assert set(values["per_weight"]) == {"hidden/kernel", "hidden/bias"}


@pytest.mark.thorough(LONG)
def test_two_replicas_say_the_same(strategies):
    one = run(ClipByNorm(2.0)).read()
    strategy = strategies(2)
    with strategy.scope():
        clip = ClipByNorm(2.0)
        statistics = ClipStatistics(clip)
        optimizer = GradientPipeline(
            keras.optimizers.SGD(0.0), [clip], signals=[statistics]
        )
        variables = variables_of(WEIGHTS)
        optimizer.build(variables)

    @tf.function(autograph=False)
    def step(*gradients):
        strategy.run(lambda: optimizer.apply([g / 2 for g in gradients], variables))

    for gradients in zip(*STREAM.values(), strict=True):
        step(*map(tf.constant, gradients))
    two = statistics.read()
    assert two["clipped_fraction"] == one["clipped_fraction"]
    assert two["per_weight"]["hidden/kernel"] == pytest.approx(
        one["per_weight"]["hidden/kernel"]
    )


def test_updates_that_are_not_made_do_not_count():
    clip = ClipByNorm(1.0)
    statistics = ClipStatistics(clip, smoothing=0.5)
    optimizer = GradientPipeline(
        keras.optimizers.SGD(1.0), [clip], signals=[statistics]
    )
    weight = keras.Variable([0.0], name="weight")
    for gradient in (3.0, np.nan):
        optimizer.apply([tf.constant([gradient])], [weight])
    expected = {"norm": 3.0, "threshold": 1.0, "clipped_fraction": 1.0}
    assert statistics.read() == {
        "clipped_fraction": 1.0,
        "per_weight": {"weight": expected},
        "samples": 1,
    }


def test_before_the_first_update_nothing_is_known():
    clip = ClipByNorm(1.0)
    statistics = ClipStatistics(clip)
    values = statistics.read()
    assert math.isnan(values["clipped_fraction"])
    assert values["per_weight"] == {}
    assert values["samples"] == 0
    optimizer = GradientPipeline("sgd", [clip], signals=[statistics])
    optimizer.build([keras.Variable([0.0], name="weight")])
    values = statistics.read()
    assert math.isnan(values["clipped_fraction"])
    assert all(math.isnan(x) for x in values["per_weight"]["weight"].values())
    assert values["samples"] == 0


@pytest.mark.filterwarnings("error::RuntimeWarning")  # a mean of nothing
def test_without_weights_nothing_is_clipped():
    clip = ClipByNorm(1.0)
    statistics = ClipStatistics(clip)
    GradientPipeline("sgd", [clip], signals=[statistics]).build([])
    assert math.isnan(statistics.read()["clipped_fraction"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"transform": ClipByValue(1.0)},
            "`transform` must be a ClipByGroupNorm. Received: transform=",
        ),
        (
            {"smoothing": 1.0},
            "`smoothing` must be a number in [0, 1). Received: smoothing=1.0.",
        ),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        ClipStatistics(**{"transform": ClipByNorm(), **arguments})
