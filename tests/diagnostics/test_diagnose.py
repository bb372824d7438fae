"""Trainings that are ill in a known way, and such that are not."""

import copy
import functools
import re

import keras
import numpy as np
import pytest

import keras_ext as kx
from benchmarks._data import digits
from keras_ext.callbacks import GradientMonitor
from keras_ext.diagnostics import diagnose
from tests.thorough import LONG, MATRIX

X, Y = (part[:640] for part in digits())


def perceptron(depth=2, activation="relu", **options):
    # Keras would count the layers that others made before.
    names = ["dense", *(f"dense_{i}" for i in range(1, depth))][:depth]
    layers = [keras.layers.Dense(32, activation, name=n, **options) for n in names]
    return [keras.Input((64,)), *layers, keras.layers.Dense(10, name="head")]


def train(layers, optimizer, x=X, epochs=1, callbacks=(), every=10):
    """Twenty updates in each epoch, which take less time than to trace one."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(layers, name="m")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    eager = epochs == 1
    model.compile(optimizer, loss, metrics=["accuracy"], run_eagerly=eager)
    monitor = GradientMonitor(every=every)
    callbacks = [monitor, *callbacks]
    history = model.fit(x, Y, epochs=epochs, callbacks=callbacks, verbose=0).history
    monitor.accuracy = history["accuracy"][-1]
    return monitor


def kinds(findings):
    return [finding.kind for finding in findings]


HEALTHY = {
    "sgd": (lambda: perceptron(), lambda: keras.optimizers.SGD(0.1)),
    "momentum": (lambda: perceptron(), lambda: keras.optimizers.SGD(0.05, 0.9)),
    "adam": (lambda: perceptron(), lambda: keras.optimizers.Adam(1e-3)),
    "8 layers": (lambda: perceptron(8), lambda: keras.optimizers.Adam(3e-3)),
    "12 tanh layers": (
        lambda: perceptron(12, "tanh"),
        lambda: keras.optimizers.Adam(1e-3),
    ),
    "convolutions": (
        lambda: [
            keras.Input((64,)),
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ],
        lambda: keras.optimizers.Adam(1e-3),
    ),
    "logistic regression": (lambda: perceptron(0), lambda: keras.optimizers.SGD(0.5)),
}


@functools.cache
def trained_in_health(name):
    layers, optimizer = HEALTHY[name]
    return train(layers(), optimizer(), epochs=5)


# One of each kind of layer.
REPRESENTATIVE = ("adam", "convolutions")


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.thorough(LONG)
def test_healthy_trainings_have_no_findings(name):
    monitor = trained_in_health(name)
    assert monitor.accuracy > 0.5
    assert diagnose(monitor) == []
    assert str(diagnose(monitor)) == "Nothing found."


@pytest.mark.thorough(LONG)
def test_vanishing_in_many_sigmoids():
    monitor = train(perceptron(10, "sigmoid"), keras.optimizers.SGD(0.1))
    (finding,) = diagnose(monitor)
    assert finding.kind == "vanishing"
    # A sigmoid has a slope of 1/4 at most, and ten follow each other.
    assert finding.numbers["vanishing_ratio"] < 0.25**8
    assert f"{finding.numbers['vanishing_ratio']:.2g}" in finding.message
    assert "ReLU" in finding.advice


def test_exploding_with_a_learning_rate_a_hundred_times_too_high():
    """Least squares, where the weights and so the gradients grow without an end."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")  # 0.01 is fine
    monitor = GradientMonitor(every=1)
    model.fit(X[:320], Y[:320], callbacks=[monitor], verbose=0)
    exploding, rate = diagnose(monitor)
    assert exploding.kind == "exploding"
    assert exploding.numbers["late_norm"] > 1e3 * exploding.numbers["smallest_norm"]
    assert rate.kind == "learning rate too high"


@pytest.mark.thorough(LONG)
def test_exploding_towards_the_first_layer():
    """Saturated units: forward all is well, backward the large weights multiply."""
    large = keras.initializers.Orthogonal(gain=15.0)
    layers = perceptron(12, "tanh", kernel_initializer=large)
    (finding,) = diagnose(train(layers, keras.optimizers.Adam(1e-3)))
    assert finding.kind == "exploding"
    assert finding.numbers["vanishing_ratio"] > 1e3


@functools.cache
def findings_at_a_rate_too_high():
    return diagnose(train(perceptron(3, "leaky_relu"), keras.optimizers.SGD(10.0)))


@pytest.mark.thorough(LONG)
def test_a_learning_rate_a_hundred_times_too_high_makes_nan():
    nonfinite, rate = findings_at_a_rate_too_high()
    assert nonfinite.kind == "nonfinite"
    assert nonfinite.numbers["count"] > 10
    assert "all layers" in nonfinite.message
    assert rate.kind == "learning rate too high"
    assert rate.numbers["update_ratio"] > 0.1


@pytest.mark.thorough(LONG)
def test_a_learning_rate_that_is_too_low():
    (finding,) = diagnose(train(perceptron(), keras.optimizers.Adam(1e-7)))
    assert finding.kind == "learning rate too low"
    assert 0 < finding.numbers["update_ratio"] < 1e-5
    assert "100 times higher" in finding.advice


def test_no_learning_rate():
    (finding,) = diagnose(train(perceptron(), keras.optimizers.SGD(0.0)))
    assert finding.kind == "learning rate too low"
    assert "above zero" in finding.advice


@pytest.mark.thorough(LONG)
def test_dead_layers():
    bias = keras.initializers.Constant(-100.0)
    layers = [
        keras.Input((64,)),
        keras.layers.Dense(32, "relu", name="before"),
        keras.layers.Dense(32, "relu", bias_initializer=bias, name="dead"),
        keras.layers.Dense(10, name="head"),
    ]
    (finding,) = diagnose(train(layers, keras.optimizers.SGD(0.1)))
    assert finding.kind == "dead layers"
    assert finding.layers == ("m/before", "m/dead")
    assert "2 of 3 layers" in finding.message


def test_dead_layers_where_no_gradient_was_ever_above_zero():
    layers = [keras.Input((2,)), keras.layers.Dense(1, name="head")]
    model = keras.Sequential(layers, name="m")
    model.compile("sgd", "mse", run_eagerly=True)
    monitor = GradientMonitor(every=1)
    nothing = np.zeros((4, 2))
    model.fit(nothing, np.zeros((4, 1)), callbacks=[monitor], verbose=0)
    (dead, *_) = diagnose(monitor)
    assert (dead.kind, dead.layers) == ("dead layers", ("m/head",))


def test_dead_units():
    def bias(shape, dtype):
        return keras.ops.array([-100.0] * 20 + [0.0] * 12, dtype)

    hidden = keras.layers.Dense(32, "relu", bias_initializer=bias, name="hidden")
    layers = [keras.Input((64,)), hidden, keras.layers.Dense(10, name="head")]
    (finding,) = diagnose(train(layers, keras.optimizers.Adam(1e-3)))
    assert finding.kind == "dead units"
    assert finding.layers == ("m/hidden",)
    assert finding.numbers["dead_fraction"] >= 20 / 32
    assert "m/hidden" in finding.message


@pytest.mark.thorough(LONG)
def test_always_clipping():
    clip = kx.callbacks.LayerwiseAdaptiveClipping(1e-6)
    monitor = train(perceptron(), keras.optimizers.SGD(1.0), callbacks=[clip])
    found = {finding.kind: finding for finding in diagnose(monitor)}
    assert set(found) == {"always clipping", "learning rate too low"}
    assert found["always clipping"].numbers["clipped_fraction"] > 0.9


@pytest.mark.thorough(LONG)
def test_clipping_now_and_then_is_healthy():
    clip = kx.callbacks.LayerwiseAdaptiveClipping(0.1, exclude="bias")
    monitor = train(perceptron(), keras.optimizers.SGD(0.1), callbacks=[clip])
    assert monitor.history["global"]["clipped_fraction"].max() > 0
    assert diagnose(monitor) == []


def nonfinite_finding(activation):
    x = X.copy()
    x[5] = np.nan
    layers = perceptron(activation=activation)
    (finding,) = diagnose(train(layers, keras.optimizers.SGD(0.1), x=x))
    assert finding.kind == "nonfinite"
    assert finding.numbers["share"] == 1 / 20
    return finding


def test_layers_of_which_nothing_was_measured_are_not_dead():
    x = np.full_like(X, np.nan)
    (finding,) = diagnose(train([keras.layers.Dense(10)], "sgd", x=x))
    assert finding.kind == "nonfinite"


def hide_nan(x):
    """As ReLU is on processors where it is computed together with its layer."""
    return keras.ops.where(keras.ops.isnan(x), 0.0, x)


@pytest.mark.hardware
@pytest.mark.thorough(LONG)
def test_nan_in_the_data():
    finding = nonfinite_finding(None)
    assert finding.layers == ("m/dense", "m/dense_1", "m/head")
    assert finding.message.endswith("in 1 of 20 updates, in all layers.")


@pytest.mark.hardware
@pytest.mark.thorough(LONG)
def test_nan_in_the_data_shows_in_the_first_layer_whatever_relu_does():
    assert nonfinite_finding("relu").layers[0] == "m/dense"


@pytest.mark.thorough(LONG)
def test_nan_that_an_activation_hides():
    finding = nonfinite_finding(hide_nan)
    assert finding.layers == ("m/dense",)
    assert finding.message.endswith(
        "in 1 of 20 updates, in m/dense; it may be in others too, where an activation "
        "such as ReLU hides it."
    )


def test_says_where_nan_shows_first():
    monitor = train(perceptron(), keras.optimizers.Adam(1e-3))
    history = monitor.history
    history["global"]["nonfinite"][-1] = 2
    for rows, where in [
        ([[0, 0, 0], [0, 1, 0], [1, 2, 1]], ", in all layers, first in m/dense_1."),
        ([[0, 0, 0], [2, 2, 2], [2, 2, 2]], ", in all layers."),
        ([[0, 0, 1], [0, 1, 1], [0, 1, 1]], ", in m/dense_1, m/head, first in m/head;"),
        ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], "."),  # only the sum of all overflows
    ]:
        history["per_layer"]["nonfinite"] = np.array(rows)
        (finding,) = diagnose(history)
        assert f" in 2 of 22 updates{where}" in finding.message


@pytest.mark.thorough(MATRIX)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_healthy(policy):
    keras.config.set_dtype_policy(policy)
    monitor = train(perceptron(), keras.optimizers.Adam(1e-3))
    assert diagnose(monitor.history) == []


def test_overflows_of_loss_scaling_are_not_an_illness():
    history = copy.deepcopy(trained_in_health("adam").history)
    history["update"][-1] = 1000
    history["global"]["nonfinite"][-1] = 10
    assert kinds(diagnose(history)) == ["nonfinite"]
    assert diagnose({**history, "loss_is_scaled": True}) == []
    history["global"]["nonfinite"][-1] = 11
    assert kinds(diagnose({**history, "loss_is_scaled": True})) == ["nonfinite"]


def test_prints_one_finding_on_each_line():
    findings = findings_at_a_rate_too_high()
    lines = str(findings).splitlines()
    assert len(lines) == len(findings) == 2
    assert lines == repr(findings).splitlines()
    assert lines[0].startswith("- Nonfinite: the gradient was NaN or infinite in ")
    assert "To try: " in lines[0]


def test_names_the_first_and_last_of_many_layers():
    history = copy.deepcopy(trained_in_health("adam").history)
    history["layers"] = [f"m/dense_{i}" for i in range(7)]
    for quantity, rows in history["per_layer"].items():
        history["per_layer"][quantity] = np.repeat(rows[:, :1], 7, axis=1)
    history["per_layer"]["dead_fraction"][:] = 1.0
    (finding,) = diagnose(history)
    assert len(finding.layers) == 7
    assert "m/dense_0, m/dense_1, ..., m/dense_6" in finding.message


@pytest.mark.parametrize("of", [lambda m: m, lambda m: m.history])
def test_what_recorded_nothing_is_not_called_healthy(of):
    message = r"`history` must be of one row or more.*=0 rows.*pass the GradientMonitor"
    with pytest.raises(ValueError, match=message.replace("=0 rows", "='0 rows'")):
        diagnose(of(GradientMonitor()))


@pytest.mark.parametrize("history", [None, {}, {"layers": []}])
def test_rejects_bad_arguments(history):
    message = (
        "`history` must be a GradientMonitor or its history. "
        f"Received: history={type(history)!r}."
    )
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        diagnose(history)
