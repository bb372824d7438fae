"""Statistics of layers against the same training with a tape, and NumPy."""

import functools
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.gradients import AdaptiveClip, ClipByGlobalNorm, ClipByGroupNorm
from keras_ext.optimizers import GradientPipeline
from keras_ext.signals import LayerStatistics
from tests.thorough import LONG, MATRIX, thorough_but

X = np.random.default_rng(0).normal(size=(96, 6)).astype("float32")
Y = np.random.default_rng(1).normal(size=(96, 3)).astype("float32")
RATE, BATCH = 0.1, 8
LAYERS = ["m/hidden", "m/norm", "m/head"]


def make_model():
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(8, "relu", name="hidden")
    layers = [hidden, keras.layers.LayerNormalization(name="norm")]
    model = keras.Sequential(
        [keras.Input((6,)), *layers, keras.layers.Dense(3, name="head")], name="m"
    )
    # Some of the units never fire.
    hidden.bias.assign([0, 0, 0, -100.0, 0, 0, -100.0, 0])
    return model


def train(*statistics, transforms=(), accumulation=1, **options):
    model = make_model()
    optimizer = GradientPipeline(
        keras.optimizers.SGD(RATE, momentum=0.5),
        transforms=transforms,
        accumulation_steps=accumulation,
        signals=statistics,
        unit_axes=kx.optimizers.unit_axes(model),
    )
    model.compile(optimizer, "mse", **options)
    size = BATCH // accumulation
    model.fit(X, Y, batch_size=size, shuffle=False, verbose=0)
    return model


@functools.cache
def measured():
    """Statistics of one run of twelve updates."""
    settings = {
        "every update": {"every": 1, "rows": 12},
        "the last rows": {"every": 2, "rows": 2},
        "the last row": {"every": 4},
    }
    statistics = {name: LayerStatistics(**s) for name, s in settings.items()}
    # In less time than the graph would take to trace.
    train(*statistics.values(), run_eagerly=True)
    return statistics


def norm(arrays):
    return math.hypot(*(x for a in arrays for x in np.ravel(a)))


def cosine(a, b):
    dot = sum(float(np.sum(x * y)) for x, y in zip(a, b, strict=True))
    return dot / (norm(a) * norm(b))


def by_layer(per_weight):
    """Weights come as kernel, bias; gamma, beta; kernel, bias."""
    return [per_weight[0:2], per_weight[2:4], per_weight[4:6], per_weight]


@functools.cache
def reference():
    """Gradients and weights of every step, from a tape and Keras's own SGD."""
    model = make_model()
    optimizer = keras.optimizers.SGD(RATE, momentum=0.5)
    history = []
    for i in range(len(X) // BATCH):
        x, y = X[i * BATCH : (i + 1) * BATCH], Y[i * BATCH : (i + 1) * BATCH]
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x) - y))
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [v.value for v in variables])
        before = [v.numpy() for v in variables]
        optimizer.apply(gradients, variables)
        after = [v.numpy() for v in variables]
        history.append(([g.numpy() for g in gradients], before, after))
    return history


def expected_rows(history, ends, keeps):
    """From quantity to rows of numbers, one per layer and one for all."""
    rows, start = [], 0
    for end in ends:
        gradients, before, after = history[end]
        parts = zip(*map(by_layer, (gradients, before, after)), strict=True)
        moves = [
            (
                norm(g),
                norm(w),
                norm([b - a for a, b in zip(w, v, strict=True)]) / norm(w),
            )
            for g, w, v in parts
        ]
        row = dict(
            zip(
                ("gradient_norm", "weight_norm", "update_ratio"),
                zip(*moves, strict=True),
                strict=True,
            )
        )
        # A unit of `hidden` and `head` is one of their columns; `norm` is one unit.
        alive = [np.zeros(8, bool), np.zeros(2, bool), np.zeros(3, bool)]
        for g, _, _ in history[start : end + 1]:
            alive[0] |= (g[0] != 0).any(0)
            alive[1] |= [(g[2] != 0).any(), (g[3] != 0).any()]
            alive[2] |= (g[4] != 0).any(0)
        dead = [1 - a.mean() for a in alive]
        row["dead_fraction"] = [*dead, dead[0] * 8 / 13]
        pairs = [
            [
                cosine(a, b)
                for a, b in zip(
                    by_layer(history[i][0]), by_layer(history[i + 1][0]), strict=True
                )
            ]
            for i in keeps
            if start <= i + 1 <= end
        ]
        nothing = [math.nan] * 4
        row["cosine"] = np.mean(pairs, axis=0) if pairs else nothing
        row["confusion"] = np.min(pairs, axis=0) if pairs else nothing
        rows.append(row)
        start = end + 1
    return rows


def check(found, expected, rtol=1e-5):
    for i, row in enumerate(expected):
        for quantity, values in row.items():
            total = found["global"][quantity][i]
            layers = found["per_layer"][quantity][i]
            np.testing.assert_allclose(
                [*layers, total], values, rtol=rtol, atol=1e-6, err_msg=quantity
            )


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
def test_equals_a_tape(jit_compile):
    statistics = LayerStatistics(every=5, pairs=2, rows=4)
    model = train(statistics, jit_compile=jit_compile)
    found = statistics.read_rows()
    assert statistics.layers == LAYERS
    assert found["update"].tolist() == [1, 5, 10]
    # Gradients 0, 2, 4, 6 and so on are kept, and compared with the next one.
    check(found, expected_rows(reference(), [0, 4, 9], [0, 2, 4, 6, 8]))
    for a, e in zip(model.get_weights(), reference()[-1][2], strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


@pytest.mark.thorough(LONG)
def test_with_every_update_all_neighbours_are_compared():
    found = measured()["every update"].read_rows()
    check(found, expected_rows(reference(), range(12), range(11)))
    np.testing.assert_allclose(
        found["global"]["cosine"], found["global"]["confusion"], atol=1e-6
    )


@pytest.mark.thorough(LONG)
def test_accumulated_micro_batches_are_one_update():
    statistics = LayerStatistics(every=5, pairs=2, rows=4)
    train(statistics, accumulation=4)
    expected = expected_rows(reference(), [0, 4, 9], [0, 2, 4, 6, 8])
    check(statistics.read_rows(), expected, rtol=1e-4)


def test_vanishing_ratio_is_that_of_the_layers_with_a_kernel():
    read = measured()["the last row"].read()
    norms = {k: v["gradient_norm"] for k, v in read["per_layer"].items()}
    expected = norms["m/hidden"] / norms["m/head"]
    assert read["global"]["vanishing_ratio"] == pytest.approx(expected, rel=1e-6)
    assert read["update"] == 12
    assert read["samples"] == 4


@pytest.mark.thorough(MATRIX)
def test_two_replicas_measure_what_one_does(strategies):
    found = []
    for replicas in (1, 2):
        statistics = LayerStatistics(every=5, pairs=2, rows=4)
        with strategies(replicas).scope():
            train(statistics, transforms=[AdaptiveClip(0.05)])
        found.append(statistics.read_rows())
    for kind in ("global", "per_layer"):
        for quantity, values in found[0][kind].items():
            np.testing.assert_allclose(
                values, found[1][kind][quantity], rtol=1e-4, atol=1e-6
            )


class TestClipping:
    def read(self, *rules, every=1):
        statistics = LayerStatistics(every=every)
        weights = {
            "a/kernel": [[3.0, 0.0], [0.0, 4.0]],
            "a/bias": [0.0, 0.0],
            "b": [5.0],
        }
        variables = []
        for path, value in weights.items():
            with keras.name_scope(path.rpartition("/")[0] or "b"):
                variables.append(keras.Variable(value, name=path.rpartition("/")[2]))
        optimizer = GradientPipeline(
            keras.optimizers.SGD(0.0), transforms=list(rules), signals=[statistics]
        )
        gradients = [[[3.0, 0.0], [4.0, 0.0]], [0.0, 0.0], [12.0]]
        optimizer.apply([tf.constant(g) for g in gradients], variables)
        return statistics.read()

    def test_without_a_rule(self):
        for row in (self.read()["global"], *self.read()["per_layer"].values()):
            assert math.isnan(row["clipped_fraction"])
            assert math.isnan(row["threshold"])

    def test_of_units(self):
        # Limits of the units: 0.3, 0.4, the bias 0.001, and 0.5.
        read = self.read(AdaptiveClip(0.1, epsilon=0.01))
        assert read["per_layer"]["a"]["clipped_fraction"] == pytest.approx(1 / 3)
        threshold = math.sqrt(0.3**2 + 0.4**2 + 0.001**2)
        assert read["per_layer"]["a"]["threshold"] == pytest.approx(threshold)
        assert read["global"]["clipped_fraction"] == pytest.approx(2 / 4)
        total = math.hypot(threshold, 0.5)
        assert read["global"]["threshold"] == pytest.approx(total)

    def test_of_chosen_weights(self):
        read = self.read(AdaptiveClip(0.1, include="kernel"))
        assert read["per_layer"]["a"]["clipped_fraction"] == pytest.approx(1 / 2)
        assert math.isnan(read["per_layer"]["b"]["clipped_fraction"])
        assert math.isnan(read["per_layer"]["b"]["threshold"])
        assert read["global"]["threshold"] == pytest.approx(0.5)

    @pytest.mark.parametrize(("limit", "clipped"), [(12.0, 1.0), (14.0, 0.0)])
    def test_of_the_global_norm(self, limit, clipped):
        read = self.read(ClipByGlobalNorm(limit))  # the norm is 13
        assert read["global"]["clipped_fraction"] == clipped
        assert read["global"]["threshold"] == pytest.approx(limit)
        assert read["per_layer"]["a"]["clipped_fraction"] == clipped
        assert math.isnan(read["per_layer"]["a"]["threshold"])

    def test_of_two_rules_the_tighter_limit_counts(self):
        read = self.read(ClipByGlobalNorm(6.0), AdaptiveClip(0.1, include="kernel"))
        assert read["global"]["threshold"] == pytest.approx(0.5)
        assert read["global"]["clipped_fraction"] == 1.0

    def test_of_layers(self):
        class Half(ClipByGroupNorm):
            def limits(self, norms, variables):
                return norms / 2

        read = self.read(Half(per="layer"))
        assert read["per_layer"]["a"]["threshold"] == pytest.approx(2.5)
        assert read["per_layer"]["a"]["clipped_fraction"] == 1.0
        assert read["global"]["threshold"] == pytest.approx(6.5)


def test_histograms_are_those_of_numpy():
    statistics = LayerStatistics(every=1, histograms=True)
    optimizer = GradientPipeline(keras.optimizers.SGD(0.0), signals=[statistics])
    rng = np.random.default_rng(0)
    # No element on an edge, where rounding decides.
    sizes = [0.0, 0.0, 3e-20, 5e9, *10 ** rng.uniform(-12, 4, 500)]
    gradient = np.array(sizes, "float32") * rng.choice([-1, 1], 504)
    variables = [
        keras.Variable(np.zeros(504), name="kernel"),
        keras.Variable(np.zeros(2), name="kernel"),
    ]
    optimizer.apply([tf.constant(gradient), tf.constant([2.0, 0.0])], variables)
    (found,) = statistics.read_rows()["histograms"]
    edges = 10.0 ** np.linspace(-12, 4, 33)
    expected, _ = np.histogram([*np.clip(sizes[2:], 1.1e-12, 9e3), 2.0], edges)
    np.testing.assert_array_equal(found, [[3, *expected]])


def test_a_bias_tells_of_its_units_and_else_the_kernel():
    for use_bias in (True, False):
        keras.utils.set_random_seed(0)
        layer = keras.layers.Conv2D(4, 3, activation="relu", use_bias=use_bias)
        model = keras.Sequential([keras.Input((6, 6, 1)), layer])
        kernel = layer.kernel.numpy()
        kernel[..., 1] = -1.0
        layer.kernel.assign(kernel)
        statistics = LayerStatistics(every=1)
        optimizer = GradientPipeline(keras.optimizers.SGD(0.1), signals=[statistics])
        model.compile(optimizer, "mse", run_eagerly=True)
        x = np.random.default_rng(0).uniform(size=(4, 6, 6, 1))
        model.train_on_batch(x, np.ones((4, 4, 4, 4)))
        assert statistics.read()["global"]["dead_fraction"] == 0.25


def test_words_that_do_not_occur_are_not_dead():
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Embedding(9, 2), keras.layers.Dense(1)]
    )
    statistics = LayerStatistics(every=1)
    optimizer = GradientPipeline(keras.optimizers.SGD(0.1), signals=[statistics])
    model.compile(optimizer, "mse", run_eagerly=True)
    model.train_on_batch(np.ones((4, 2), "int32"), np.ones((4, 2, 1)))
    embedding, dense = statistics.read()["per_layer"].values()
    assert math.isnan(embedding["dead_fraction"])
    assert embedding["gradient_norm"] > 0
    assert dense["dead_fraction"] == 0.0


def test_weights_without_a_gradient_count_as_zero():
    statistics = LayerStatistics(every=1)
    optimizer = GradientPipeline(keras.optimizers.SGD(0.5), signals=[statistics])
    with keras.name_scope("used"):
        used = keras.Variable([3.0, 4.0], name="w")
    with keras.name_scope("unused"):
        unused = keras.Variable([1.0, 1.0], name="w")
    for _ in range(2):
        optimizer.apply([tf.constant([0.0, 1.0]), None], [used, unused])
    row = statistics.read()["per_layer"]["unused"]
    assert row["gradient_norm"] == row["update_ratio"] == 0.0
    assert row["dead_fraction"] == 1.0
    assert math.isnan(row["cosine"])
    assert row["weight_norm"] == pytest.approx(math.sqrt(2))


def test_zeros_have_no_direction_and_no_size_to_compare_with():
    """Of two comparisons one is with a zero; weights that are zero move by no ratio."""
    statistics = LayerStatistics(every=4, pairs=2, rows=2)
    optimizer = GradientPipeline(keras.optimizers.SGD(0.1), signals=[statistics])
    weight = keras.Variable([0.0, 0.0], name="w")
    for gradient in ([1.0, 0.0], [0.6, 0.8], [1.0, 0.0], [0.0, 0.0]):
        optimizer.apply([tf.constant(gradient)], [weight])
    found = statistics.read()["global"]
    assert found["cosine"] == pytest.approx(0.6)
    assert found["confusion"] == pytest.approx(0.6)
    first, last = statistics.read_rows()["global"]["update_ratio"][:2]
    assert first == 0.0
    assert last == pytest.approx(0.0, abs=1e-6)  # without a gradient


@pytest.mark.parametrize("replicas", thorough_but({1}, [1, 2]))
def test_counts_gradients_that_are_not_finite(strategies, replicas):
    strategy = strategies(replicas)
    statistics = LayerStatistics(every=2, rows=5)
    with strategy.scope():
        variables = []
        for layer in "ab":
            with keras.name_scope(layer):
                variables += [
                    keras.Variable([1.0], name="kernel"),
                    keras.Variable([1.0], name="bias"),
                ]
        optimizer = GradientPipeline(keras.optimizers.SGD(0.1), signals=[statistics])
        optimizer.build(variables)

    @tf.function(autograph=False)
    def step(bad):
        def on_replica():
            gradients = [tf.identity(bad), bad + 1.0, tf.ones(1), tf.ones(1)]
            optimizer.apply(gradients, variables)

        strategy.run(on_replica)

    for bad in (1.0, math.nan, math.inf, 1.0, 1.0):
        step(tf.constant([bad]))
    read = statistics.read_rows()
    assert read["nonfinite"].tolist() == [2, 0, 2]
    assert read["update"].tolist() == [1, 2]
    assert read["global"]["nonfinite"].tolist() == [0, 2]
    assert read["per_layer"]["nonfinite"].tolist() == [[0, 0], [2, 0]]
    assert np.isfinite(read["global"]["gradient_norm"]).all()


def test_only_the_last_rows_stay_on_the_device():
    statistics = measured()["the last rows"]
    found = statistics.read_rows()
    assert found["samples"] == 7
    assert found["update"].tolist() == [10, 12]
    assert statistics.read_rows(seen=6)["update"].tolist() == [12]
    assert statistics.read_rows(seen=7)["update"].tolist() == []


def test_float16_does_not_overflow():
    statistics = LayerStatistics(every=1)
    optimizer = GradientPipeline(keras.optimizers.SGD(0.0), signals=[statistics])
    weight = keras.Variable(np.full(4, 3e4), dtype="float16", name="w")
    for _ in range(2):
        optimizer.apply([tf.constant([4e4] * 4, "float16")], [weight])
    row = statistics.read()["global"]
    assert row["gradient_norm"] == pytest.approx(8e4, rel=1e-3)
    assert row["weight_norm"] == pytest.approx(6e4, rel=1e-3)
    assert row["cosine"] == pytest.approx(1.0)


def test_before_the_first_update():
    read = LayerStatistics().read()
    assert read["samples"] == read["update"] == 0
    assert all(math.isnan(v) for v in read["global"].values())
    assert read["per_layer"] == {}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"every": 0}, "`every` must be an integer >= 1. Received: every=0."),
        ({"rows": 1.5}, "`rows` must be an integer >= 1. Received: rows=1.5."),
        ({"pairs": -1}, "`pairs` must be an integer >= 0. Received: pairs=-1."),
        (
            {"histograms": 1},
            "`histograms` must be True or False. Received: histograms=1.",
        ),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        LayerStatistics(**kwargs)
