"""What moves the hyperparameters in an `AdaptiveRegularization`."""

import copy
import functools
import math

import keras
import matplotlib as mpl
import numpy as np
import pytest

from keras_ext.callbacks import AdaptiveRegularization
from tests.callbacks.regularization.perceptron import (
    KEYS,
    TRAIN,
    VALIDATION,
    X,
    adapt,
    fit,
    plain_model,
)
from tests.thorough import LONG, thorough_but

mpl.use("agg")
RULES = ("gap", "hypergradient", "population")
every_rule = pytest.mark.parametrize("rule", RULES)


def ridge(rows=24, inputs=20, seed=0):
    """Data with orthogonal inputs, and the best penalty, by the closed form."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(inputs, 1))

    def draw(rows, noise):
        q, _ = np.linalg.qr(rng.normal(size=(rows, inputs)))
        x = q * math.sqrt(rows)
        return x.astype("float32"), (x @ w + noise * rng.normal(size=(rows, 1))).astype(
            "float32"
        )

    train, validation = draw(rows, 4.0), draw(400, 0.5)

    def loss_at_rest(strength):
        gram = train[0].T @ train[0] / rows + strength * np.eye(inputs)
        at_rest = np.linalg.solve(gram, train[0].T @ train[1] / rows)
        return float(np.mean((validation[0] @ at_rest - validation[1]) ** 2))

    strengths = np.geomspace(1e-3, 30, 400)
    losses = [loss_at_rest(s) for s in strengths]
    return train, validation, strengths[int(np.argmin(losses))], min(losses)


RIDGES = [
    ("hypergradient", 60, 0.02),
    ("hypergradient", 60, 5.0),
    ("population", 120, 5.0),
]


@pytest.mark.parametrize(("rule", "epochs", "first"), RIDGES)
@pytest.mark.thorough(LONG)
def test_the_best_ridge_is_found(rule, epochs, first):
    train, validation, best, lowest = ridge()
    penalty = keras.regularizers.L2(first)
    dense = keras.layers.Dense(1, use_bias=False, kernel_regularizer=penalty)
    model = keras.Sequential([keras.Input((20,)), dense])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    callback = AdaptiveRegularization(train, validation, rule=rule, span=6.0, seed=0)
    options = {"epochs": epochs, "batch_size": 24, "verbose": 0}
    model.fit(*train, callbacks=[callback], **options)
    assert abs(math.log(penalty.l2 / best)) < 0.3
    assert callback._measure()[1] < 1.02 * lowest


class CountTraces(keras.Sequential):
    """A model that counts how often its step was traced."""

    traces = 0

    def train_step(self, data):
        self.traces += 1
        return super().train_step(data)


def counting_model(jit_compile):
    plain = plain_model(keras.optimizers.AdamW, noise=keras.layers.Dropout(0.2, seed=0))
    hidden, dropout, out = plain.layers
    norm = keras.layers.BatchNormalization(name="norm")
    model = CountTraces([keras.Input((6,)), hidden, norm, dropout, out])
    model.compile(plain.optimizer, plain.loss, jit_compile=jit_compile)
    return model


@functools.cache
def trained(rule, jit_compile):
    """Returns the model, the callback and the history of five epochs."""
    model, callback = counting_model(jit_compile), adapt(rule, members=2)
    history = fit(model, callback, epochs=5, batch_size=40)
    return model, callback, history, model.traces


WAYS = [
    *((rule, False) for rule in RULES),
    *((rule, True) for rule in ("hypergradient", "population")),
]


@every_rule
def test_explains_itself_and_leaves_a_plain_model(rule, tmp_path):
    model, callback, history, _ = trained(rule, False)
    paths = {*KEYS, "dropout/rate"}
    assert paths <= set(history)
    *lines, last = callback.report().splitlines()
    assert len(lines) == 5
    assert last.startswith("not moved: ")
    assert all(path in callback.report() for path in paths)
    assert len({str(row["values"]) for row in callback.decisions}) > 1
    figure = callback.plot()
    assert mpl.pyplot.get_fignums() == []
    assert {line.get_label() for line in figure.axes[2].lines} == paths
    assert type(model.get_layer("dropout").rate) is float
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(
        tmp_path / "model.keras", custom_objects={"CountTraces": CountTraces}
    )
    assert loaded.get_layer("dropout").rate == model.get_layer("dropout").rate
    np.testing.assert_allclose(loaded.predict(X, verbose=0), model(X), atol=1e-6)


# One with a gradient of its own, and one with several states of the model.
@pytest.mark.parametrize(
    ("rule", "jit_compile"),
    thorough_but([("hypergradient", False), ("population", False)], WAYS),
)
def test_one_trace_a_second_fit_and_a_copy(rule, jit_compile):
    model, callback, _, traces = trained(rule, jit_compile)
    # With the symbolic one, of a model that is not built.
    assert traces <= 2
    assert len(callback.decisions) == 5
    copied = copy.deepcopy(callback)
    fit(model, copied, epochs=3, batch_size=40)
    assert model.traces <= 4
    assert len(copied.decisions) == 3
    assert "not moved: norm/momentum 0.99" in copied.report()


@pytest.mark.parametrize("rule", ["hypergradient", "population"])
@pytest.mark.thorough(LONG)
def test_two_replicas_train_as_one(rule, strategies):
    values = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            model = plain_model(keras.optimizers.AdamW)
        callback = adapt(rule, members=2)
        fit(model, callback, epochs=3, batch_size=40, shuffle=False)
        values.append((model.get_weights(), callback.decisions[-1]["values"]))
    for one, two in zip(values[0][0], values[1][0], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)
    assert values[0][1] == pytest.approx(values[1][1], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "pid"}, '`rule` must be "hypergradient", "gap" or "population"'),
        ({"members": 1}, "`members` must be an integer >= 2"),
        ({"seed": 0.5}, "`seed` must be an integer or None"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveRegularization(TRAIN, VALIDATION, **arguments)
