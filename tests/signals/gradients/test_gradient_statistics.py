"""Gradient statistics against the same steps in plain NumPy."""

import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import AdaptiveClip
from keras_ext.optimizers import GradientPipeline
from keras_ext.signals import GradientStatistics
from tests.thorough import thorough_but

QUANTITIES = ("gradient_norm", "weight_norm", "update_ratio", "clipped_fraction")
SHAPES = {"kernel": (4, 3), "bias": (3,), "scale": ()}
LEARNING_RATE, MOMENTUM, CLIPPING = 0.3, 0.8, 0.1


def examples(steps):
    """Weights, and gradients that are clipped sometimes."""
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape) for shape in SHAPES.values()]
    gradients = [
        [0.1 * rng.normal(size=shape) for shape in SHAPES.values()]
        for _ in range(steps)
    ]
    return start, gradients


def variables_from(start, dtype="float32"):
    return [
        keras.Variable(w, dtype=dtype, name=name)
        for name, w in zip(SHAPES, start, strict=True)
    ]


def columns(x):
    """A weight as a list of its units."""
    return [x[:, i] for i in range(x.shape[1])] if x.ndim == 2 else [np.ravel(x)]


def clipped(w, g):
    """The clipped gradient, and for every unit whether it was changed."""
    result, changed = [], []
    for unit, gradient in zip(columns(w), columns(g), strict=True):
        limit = CLIPPING * max(math.hypot(*unit), 1e-3)
        norm = math.hypot(*gradient)
        result.append(gradient * min(1.0, limit / norm))
        changed.append(norm > limit)
    return np.stack(result, axis=-1).reshape(np.shape(g)), changed


def reference(start, gradients):
    """What happens in every step of SGD with momentum, from quantity to numbers.

    The last number of each is that of all weights together.
    """
    weights, velocity = start, [np.zeros_like(w) for w in start]
    history = []
    for step in gradients:
        pairs = [clipped(w, g) for w, g in zip(weights, step, strict=True)]
        velocity = [
            MOMENTUM * v - LEARNING_RATE * g
            for v, (g, _) in zip(velocity, pairs, strict=True)
        ]
        norms = [math.hypot(*np.ravel(g)) for g in step]
        sizes = [math.hypot(*np.ravel(w)) for w in weights]
        moves = [math.hypot(*np.ravel(v)) for v in velocity]
        changed = [c for _, c in pairs]
        history.append(
            {
                "gradient_norm": [*norms, math.hypot(*norms)],
                "weight_norm": [*sizes, math.hypot(*sizes)],
                "update_ratio": [
                    *np.divide(moves, sizes),
                    math.hypot(*moves) / math.hypot(*sizes),
                ],
                "clipped_fraction": [*map(np.mean, changed), np.mean(sum(changed, []))],
            }
        )
        weights = [w + v for w, v in zip(weights, velocity, strict=True)]
    return history


def averaged(history, quantity, smoothing):
    """The mean with weights that fall by `smoothing` with every step into the past."""
    past = smoothing ** np.arange(len(history))[::-1]
    return np.average([h[quantity] for h in history], axis=0, weights=past)


def pipeline(statistics, clipping=CLIPPING):
    return GradientPipeline(
        keras.optimizers.SGD(LEARNING_RATE, MOMENTUM),
        transforms=[AdaptiveClip(clipping)],
        signals=[statistics],
    )


def run(optimizer, variables, gradients, jit_compile=False):
    optimizer.build(variables)

    @tf.function(autograph=False, jit_compile=jit_compile)
    def step(*gradients):
        optimizer.apply(gradients, variables)

    for gradient in gradients:
        step(
            *(tf.constant(g, v.dtype) for g, v in zip(gradient, variables, strict=True))
        )


def check(read, history, smoothing, quantities=QUANTITIES):
    assert read["samples"] == len(history)
    assert list(read["per_weight"]) == list(SHAPES)
    found = [*read["per_weight"].values(), read["global"]]
    for quantity in quantities:
        np.testing.assert_allclose(
            [f[quantity] for f in found],
            averaged(history, quantity, smoothing),
            rtol=1e-4,
            err_msg=quantity,
        )
        assert read["last"][quantity] == pytest.approx(
            history[-1][quantity][-1], rel=1e-4
        )


@pytest.mark.parametrize(
    ("smoothing", "jit_compile"),
    thorough_but({(0.9, False)}, [(0.0, False), (0.9, False), (0.9, True)]),
)
def test_equals_the_same_steps_in_numpy(smoothing, jit_compile):
    start, gradients = examples(12)
    statistics = GradientStatistics(smoothing=smoothing)
    variables = variables_from(start)
    run(pipeline(statistics), variables, gradients, jit_compile)
    history = reference(start, gradients)
    check(statistics.read(), history, smoothing)
    # Some units were clipped, and some not.
    assert 0.1 < averaged(history, "clipped_fraction", 1.0)[-1] < 0.9


def test_the_average_has_no_bias_from_its_start():
    statistics = GradientStatistics(("gradient_norm",), smoothing=0.99)
    optimizer = GradientPipeline("sgd", signals=[statistics])
    weight = keras.Variable([0.0], name="weight")
    for norm in (3.0, 3.0, 3.0):
        optimizer.apply([tf.constant([norm])], [weight])
        read = statistics.read()
        assert read["global"]["gradient_norm"] == pytest.approx(3.0, rel=1e-4)


@pytest.mark.parametrize("quantities", [QUANTITIES, ("weight_norm", "gradient_norm")])
def test_measures_every_so_many_updates(quantities):
    start, gradients = examples(8)
    statistics = GradientStatistics(quantities, every=3, smoothing=0.5)
    run(pipeline(statistics), variables_from(start), gradients)
    history = reference(start, gradients)
    check(statistics.read(), history[::3], 0.5, quantities)


def test_measures_only_what_it_is_asked_for():
    start, gradients = examples(2)
    statistics = GradientStatistics(["weight_norm", "clipped_fraction"], smoothing=0)
    run(pipeline(statistics), variables_from(start), gradients)
    read = statistics.read()
    expected = ["weight_norm", "clipped_fraction"]
    assert list(read["global"]) == list(read["last"]) == expected
    assert all(list(v) == expected for v in read["per_weight"].values())
    last = reference(start, gradients)[-1]
    for quantity in expected:
        assert read["last"][quantity] == pytest.approx(last[quantity][-1], rel=1e-5)


def test_without_a_transform_nothing_is_clipped():
    start, gradients = examples(1)
    statistics = GradientStatistics()
    optimizer = GradientPipeline(keras.optimizers.SGD(0.1), signals=[statistics])
    run(optimizer, variables_from(start), gradients)
    read = statistics.read()
    assert read["global"]["clipped_fraction"] == 0.0
    assert read["global"]["gradient_norm"] > 0


def test_counts_the_clipped_units_by_the_axes_of_the_layer():
    # Rows are units here, as in an embedding: one of four is clipped.
    statistics = GradientStatistics(("clipped_fraction",))
    optimizer = GradientPipeline(
        "sgd",
        transforms=[AdaptiveClip(0.5)],
        signals=[statistics],
        unit_axes={"rows": (1,)},
    )
    rows = keras.Variable(np.ones((4, 2)), dtype="float32", name="rows")
    bias = keras.Variable(np.ones(7), dtype="float32", name="bias")
    gradient = np.full((4, 2), 0.4)
    gradient[2] = 0.6
    optimizer.apply([tf.constant(gradient, "float32"), tf.ones(7)], [rows, bias])
    read = statistics.read()
    assert read["per_weight"]["rows"]["clipped_fraction"] == 0.25
    assert read["per_weight"]["bias"]["clipped_fraction"] == 1.0
    assert read["global"]["clipped_fraction"] == pytest.approx(2 / 5)


def test_before_the_first_update_everything_is_nan():
    statistics = GradientStatistics()
    optimizer = GradientPipeline("sgd", signals=[statistics])
    optimizer.build([keras.Variable([1.0], name="weight")])
    read = statistics.read()
    assert read["samples"] == 0
    for values in (read["global"], read["last"], read["per_weight"]["weight"]):
        assert list(values) == list(QUANTITIES)
        assert all(math.isnan(v) for v in values.values())


def test_before_it_is_built_everything_is_nan_too():
    read = GradientStatistics(("weight_norm",)).read()
    assert read["samples"] == 0
    assert read["per_weight"] == {}
    assert math.isnan(read["global"]["weight_norm"])
    assert math.isnan(read["last"]["weight_norm"])


def test_an_update_that_is_skipped_is_not_measured():
    statistics = GradientStatistics(smoothing=0.5)
    optimizer = GradientPipeline(keras.optimizers.SGD(0.1), signals=[statistics])
    weight = keras.Variable([1.0], name="weight")
    for gradient in (2.0, math.nan, math.inf, 2.0):
        optimizer.apply([tf.constant([gradient])], [weight])
    read = statistics.read()
    assert read["samples"] == 2
    assert read["global"]["gradient_norm"] == pytest.approx(2.0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_weights_are_measured_as_they_are(dtype):
    # The squares of such weights and gradients overflow float16, or vanish in it.
    start = [np.full((4, 3), 300.0), np.full(3, 1e-4), np.array(2.0)]
    gradients = [[np.full((4, 3), 500.0), np.full(3, 2e-4), np.array(1.0)]]
    variables = variables_from(start, dtype)
    before = [np.asarray(tf.cast(v.value, "float64")) for v in variables]
    statistics = GradientStatistics(smoothing=0)
    optimizer = GradientPipeline(keras.optimizers.SGD(0.25), signals=[statistics])
    run(optimizer, variables, gradients)
    after = [np.asarray(tf.cast(v.value, "float64")) for v in variables]
    per_weight = statistics.read()["per_weight"].values()
    for found, b, a, g in zip(per_weight, before, after, gradients[0], strict=True):
        exact = np.asarray(tf.cast(tf.cast(g, dtype), "float64"))
        size = math.hypot(*np.ravel(b))
        assert found["weight_norm"] == pytest.approx(size, rel=1e-5)
        assert found["gradient_norm"] == pytest.approx(
            math.hypot(*np.ravel(exact)), rel=1e-5
        )
        assert found["update_ratio"] == pytest.approx(
            math.hypot(*np.ravel(a - b)) / size, rel=1e-5
        )
        assert found["update_ratio"] > 0.1


def test_weights_of_zero_have_an_update_ratio_of_zero():
    statistics = GradientStatistics(("update_ratio",))
    optimizer = GradientPipeline(keras.optimizers.SGD(0.1), signals=[statistics])
    zero = keras.Variable([0.0, 0.0], name="zero")
    one = keras.Variable([0.0, 1.0], name="one")
    optimizer.apply([tf.ones(2), tf.ones(2)], [zero, one])
    read = statistics.read()
    assert read["per_weight"]["zero"]["update_ratio"] == 0.0
    assert read["per_weight"]["one"]["update_ratio"] == pytest.approx(0.1 * 2**0.5)
    assert read["global"]["update_ratio"] == pytest.approx(0.2)


def test_a_weight_without_a_gradient_adds_nothing():
    statistics = GradientStatistics(smoothing=0)
    optimizer = GradientPipeline(
        keras.optimizers.SGD(0.5), [AdaptiveClip(1.0)], signals=[statistics]
    )
    names = ("a", "b", "c")
    variables = [keras.Variable([3.0, 4.0], name=name) for name in names]
    optimizer.build(variables)
    optimizer.apply([tf.constant([0.0, 2.0]), None, tf.constant([6.0, 8.0])], variables)
    read = statistics.read()
    per_weight = {name: read["per_weight"][name] for name in names}
    norms = [per_weight[name]["gradient_norm"] for name in names]
    assert norms == pytest.approx([2.0, 0.0, 10.0])
    ratios = [per_weight[name]["update_ratio"] for name in names]
    assert ratios == pytest.approx([0.2, 0.0, 0.5])
    fractions = [per_weight[name]["clipped_fraction"] for name in names]
    assert fractions == [0.0, 0.0, 1.0]
    assert read["global"]["gradient_norm"] == pytest.approx(math.sqrt(104))


def test_the_rows_of_a_sparse_gradient_are_added_before_they_are_measured():
    # An embedding gives one row for each token; here the first one occurs twice.
    statistics = GradientStatistics(("gradient_norm",))
    optimizer = GradientPipeline(keras.optimizers.SGD(0.1), signals=[statistics])
    table = keras.Variable(np.ones((5, 2)), dtype="float32", name="table")
    rows = tf.constant([[3.0, 0.0], [0.0, 4.0], [3.0, 0.0]])
    gradient = tf.IndexedSlices(rows, tf.constant([1, 2, 1]), tf.constant([5, 2]))
    optimizer.apply([gradient], [table])
    expected = math.hypot(6.0, 4.0)
    assert statistics.read()["global"]["gradient_norm"] == pytest.approx(expected)


def test_weights_of_the_same_path_are_told_apart():
    # Models that were built apart, and then nested, have such weights.
    statistics = GradientStatistics(smoothing=0)
    optimizer = GradientPipeline(keras.optimizers.SGD(0.5), signals=[statistics])
    variables = [
        keras.Variable(np.ones(4), dtype="float32", name="kernel"),
        keras.Variable(np.ones((3, 7)), dtype="float32", name="kernel"),
    ]
    optimizer.apply([tf.ones(4), 2.0 * tf.ones((3, 7))], variables)
    found = statistics.read()["global"]
    assert found["weight_norm"] == pytest.approx(5.0)
    assert found["gradient_norm"] == pytest.approx(math.sqrt(4 + 4 * 21))
    assert found["update_ratio"] == pytest.approx(0.5 * math.sqrt(4 + 4 * 21) / 5)


def test_two_replicas_measure_the_gradient_that_they_agreed_on(strategies):
    strategy = strategies(2)
    statistics = GradientStatistics(smoothing=0)
    with strategy.scope():
        weight = keras.Variable([3.0, 4.0], name="weight")
        optimizer = GradientPipeline(
            keras.optimizers.SGD(0.5),
            transforms=[AdaptiveClip(0.1)],
            signals=[statistics],
        )
        optimizer.build([weight])

    # Autograph reads the code of a signal, too.
    @tf.function
    def step():
        def on_replica():
            context = tf.distribute.get_replica_context()
            first = context.replica_id_in_sync_group == 0
            gradient = tf.where(first, tf.constant([5.0, 0.0]), [1.0, 8.0])
            optimizer.apply([gradient], [weight])

        strategy.run(on_replica)

    step()
    assert statistics.read()["global"] == {
        "gradient_norm": 10.0,
        "weight_norm": 5.0,
        "update_ratio": pytest.approx(0.05, rel=1e-5),  # 0.5 * 0.1
        "clipped_fraction": 1.0,
    }


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"quantities": ("loss",)},
            f"`quantities` must be a list of some of {QUANTITIES}. "
            "Received: quantities=('loss',).",
        ),
        (
            {"quantities": "weight_norm"},
            f"`quantities` must be a list of some of {QUANTITIES}. "
            "Received: quantities='weight_norm'.",
        ),
        ({"every": 0}, "`every` must be an integer >= 1. Received: every=0."),
        ({"every": 1.5}, "`every` must be an integer >= 1. Received: every=1.5."),
        (
            {"smoothing": 1},
            "`smoothing` must be a number in [0, 1). Received: smoothing=1.",
        ),
        (
            {"smoothing": -0.1},
            "`smoothing` must be a number in [0, 1). Received: smoothing=-0.1.",
        ),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        GradientStatistics(**kwargs)
