"""Shares against closed forms of linear models."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_ext as kx
from keras_ext._anatomy._fixed_data import FixedData
from keras_ext.callbacks.regularization._dropout_shares import DropoutShares

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 4)).astype("float32")
Y = RNG.normal(size=(400, 1)).astype("float32")
CONTROL = RNG.normal(size=(100, 4)).astype("float32"), Y[:100]


def linear_model():
    """Two linear layers with dropout before each, which is `x @ a @ b`."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = layers.Dropout(0.0, name="first")(inputs)
    x = layers.Dense(3, use_bias=False, kernel_regularizer="l2")(x)
    x = kx.layers.AdaptiveDropout(0.3, name="second")(x)
    x = layers.Dense(1, use_bias=False, name="head")(x)
    model = keras.Model(inputs, x)
    model.compile("sgd", "mse")
    return model


def shares(model, rule, control=CONTROL):
    dropouts = [x for x in model.layers if "drop" in type(x).__name__.lower()]
    data = FixedData((X, Y)), FixedData(control)
    return DropoutShares(model, dropouts, rule, *data)


def normalized(sizes):
    return np.array(sizes) / np.mean(sizes)


def test_variance_is_that_of_the_closed_form():
    """At a rate of 0.5, `sum((w x)**2) * p / (1 - p)`, for each layer alone."""
    model = linear_model()
    a, b = (np.asarray(v) for v in model.trainable_variables)
    first = np.mean(np.sum((X * (a @ b)[:, 0]) ** 2, axis=1))
    second = np.mean(np.sum((X @ a * b[:, 0]) ** 2, axis=1))
    found = shares(model, "variance")
    # 8 masks for each of 400 rows: an error of some percent.
    assert found.measure() == pytest.approx(
        normalized(np.sqrt([first, second])), rel=0.05
    )
    expected = [first, second]
    assert found._measures.measure() == pytest.approx(expected, rel=0.1)


def gradients(x, y, a, b):
    """Of the mean square with respect to `a` and `b`."""
    errors = 2 * (x @ a @ b - y) / len(y)
    return x.T @ errors @ b.T, (x @ a).T @ errors


def cosine(a, b):
    return np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("replicas", [1, 2])
def test_disagreement_is_that_of_the_closed_form(replicas, strategies):
    with strategies(replicas).scope():
        model = linear_model()
    weights = [np.asarray(v) for v in model.trainable_variables]
    sides = gradients(X, Y, *weights), gradients(*CONTROL, *weights)
    # Each dropout is judged by the weights that get what it drops.
    expected = [1 - cosine(a, b) for a, b in zip(*sides, strict=True)]
    found = shares(model, "disagreement").measure()
    assert found == pytest.approx(normalized(expected), rel=1e-4)
    assert abs(found[0] - found[1]) > 0.01


def test_without_disagreement_all_are_the_same():
    assert shares(linear_model(), "disagreement", (X, Y)).measure() == [1.0, 1.0]


def test_a_dropout_at_the_end_is_judged_by_the_layer_before():
    model = linear_model()
    last = layers.Dropout(0.1, name="last")(model.output)
    model = keras.Model(model.input, last)
    model.compile("sgd", "mse")
    first, second, third = shares(model, "disagreement").measure()
    assert second == third != first


def test_a_loss_that_is_not_finite_shares_out_evenly():
    model = linear_model()
    model.get_layer("head").kernel.assign(np.full((3, 1), np.inf))
    assert shares(model, "disagreement").measure() == [1.0, 1.0]
    assert shares(model, "variance").measure() == [1.0, 1.0]


@pytest.mark.parametrize("rule", ["disagreement", "variance"])
def test_it_is_traced_once_and_leaves_no_trace(rule):
    model = linear_model()
    found = shares(model, rule)
    before = [np.asarray(v) for v in model.variables]
    first = found.measure()
    of_graph = (
        found._measures._gradient if rule[0] == "d" else found._measures._variance
    )
    traces = of_graph.experimental_get_tracing_count()
    # The same masks each time: what changes is due to the weights.
    assert found.measure() == pytest.approx(first, rel=1e-6)
    model.get_layer("head").kernel.assign([[1.0], [2.0], [-3.0]])
    assert found.measure() != pytest.approx(first, rel=1e-3)
    assert of_graph.experimental_get_tracing_count() == traces <= 2
    model.get_layer("head").kernel.assign(before[-1])
    after = [np.asarray(v) for v in model.variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert all("call" not in vars(layer) for layer in model.layers)


@pytest.mark.parametrize("rule", ["disagreement", "variance"])
def test_it_does_not_disturb_the_training(rule):
    """With a change of 0 the weights are those of a plain run."""

    class Nothing:
        def update(self, gap):
            return 0.0

    weights = []
    for per_layer in (None, rule):
        model = linear_model()
        for layer in model.layers:
            if "seed_generator" in vars(layer):
                layer.seed_generator.state.assign(np.array([3, 0], "uint32"))
        callback = kx.callbacks.AdaptiveDropout(
            (X, Y), CONTROL, 0.3, 0.6, 0, Nothing(), per_layer=per_layer, guards=False
        )
        keras.utils.set_random_seed(1)
        history = model.fit(X, Y, 50, epochs=2, callbacks=[callback], verbose=0)
        weights.append(model.get_weights())
        assert ("first/rate" in history.history) == (per_layer is not None)
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_spatial_dropout_is_tried_with_its_own_masks():
    """Whole channels: the variance of `mean(w * x)` over 5 places is not a fifth."""
    inputs = keras.Input((5, 2))
    x = layers.SpatialDropout1D(0.1)(inputs)
    x = layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, x)
    found = DropoutShares(
        model,
        [model.layers[1]],
        "variance",
        FixedData((np.ones((500, 5, 2)), np.ones((500, 2)))),
        FixedData(CONTROL),
    )
    found.measure()
    assert found._measures.measure() == pytest.approx([1.0], rel=0.1)
