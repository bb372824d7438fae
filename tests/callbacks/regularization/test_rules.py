"""What moves the hyperparameters in an `AdaptiveRegularization`."""

import copy
import functools
import math

import keras
import matplotlib as mpl
import numpy as np
import pytest
from scipy.special import logsumexp

import keras_ext as kx
from keras_ext.callbacks import AdaptiveRegularization
from keras_ext.signals.losses._slope_probe import SlopeProbe
from tests.thorough import TRAININGS, thorough_but

mpl.use("agg")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 6)).astype("float32")
Y = keras.utils.to_categorical(RNG.integers(0, 3, 70))
TRAIN, VALIDATION = (X[:40], Y[:40]), (X[30:], Y[30:])
RULES = ("gap", "hypergradient", "population")
every_rule = pytest.mark.parametrize("rule", RULES)
START = {"l1": 0.02, "l2": 0.03, "activity": 0.05, "decay": 0.04, "smoothing": 0.1}
KEYS = {
    "hidden/kernel_regularizer/l1": "l1",
    "hidden/kernel_regularizer/l2": "l2",
    "hidden/activity_regularizer/l2": "activity",
    "optimizer/weight_decay": "decay",
    "loss/label_smoothing": "smoothing",
}


def plain_model(optimizer=keras.optimizers.SGD, rate=0.003, noise=None, **changed):
    keras.utils.set_random_seed(1)
    values = {**START, **changed}
    hidden = keras.layers.Dense(
        5,
        "tanh",
        kernel_regularizer=keras.regularizers.L1L2(values["l1"], values["l2"]),
        activity_regularizer=keras.regularizers.L2(values["activity"]),
        name="hidden",
    )
    noise = [] if noise is None else [noise]
    model = keras.Sequential(
        [keras.Input((6,)), hidden, *noise, keras.layers.Dense(3, name="out")]
    )
    model.compile(
        optimizer(rate, weight_decay=values["decay"]),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=values["smoothing"]
        ),
    )
    return model


def validation_loss(model):
    """The cross entropy of the perceptron, in float64."""
    w, b, v, c = (np.asarray(w, "float64") for w in model.get_weights())
    logits = np.tanh(VALIDATION[0] @ w + b) @ v + c
    return np.mean(logsumexp(logits, 1) - (VALIDATION[1] * logits).sum(1))


def slopes(model, **options):
    """By path; with the live values that the callback makes."""
    callback = AdaptiveRegularization(TRAIN, VALIDATION, **options)
    callback.set_model(model)
    probe = SlopeProbe(TRAIN, VALIDATION, seed=0)
    return dict(
        zip(callback._knobs.live, probe.measure(model, callback._knobs), strict=True)
    )


@functools.cache
def slopes_of_the_plain_model():
    return slopes(plain_model())


def fit(model, callback, epochs=3, **options):
    options = {"epochs": epochs, "callbacks": [callback], "verbose": 0, **options}
    return model.fit(*TRAIN, **options).history


def adapt(rule, **options):
    return AdaptiveRegularization(
        TRAIN,
        VALIDATION,
        **{"rule": rule, "warmup_epochs": 0, "seed": 0, **options},
    )


# The gradient of the validation loss.


@pytest.mark.parametrize("path", KEYS)
def test_slopes_are_those_of_the_loss_after_a_step(path):
    key = KEYS[path]
    start = START[key]

    def loss_after_a_step(value):
        model = plain_model(**{key: value})
        model.run_eagerly = True
        model.train_on_batch(*TRAIN)
        return validation_loss(model)

    # Linear within the rounding of float32, so that the steps may be large.
    low, high = 1e-9, 2 * start
    difference = (loss_after_a_step(high) - loss_after_a_step(low)) / (high - low)
    on_scale = start * (1 - start) if key == "smoothing" else start
    measured = slopes_of_the_plain_model()[path]
    assert measured == pytest.approx(difference * on_scale, rel=0.02)


def test_slopes_with_adam_are_those_of_its_preconditioner():
    """By hand: the second moments after steps with known gradients."""
    model = plain_model(keras.optimizers.Adam, l1=0.0, activity=0.0, smoothing=0.0)
    squares = [np.zeros(w.shape) for w in model.trainable_variables]
    for _ in range(3):
        for square, g in zip(squares, gradients(model, TRAIN), strict=True):
            square *= 0.999
            square += 0.001 * g**2
        model.train_on_batch(*TRAIN)
    kernel = keras.ops.convert_to_numpy(model.get_layer("hidden").kernel)
    unbiased = squares[0] / (1 - 0.999**3)
    plain = gradients(model, VALIDATION, penalties=False)
    expected = -0.003 * np.sum(plain[0] / np.sqrt(unbiased) * 2 * kernel) * START["l2"]
    measured = slopes(model, include="kernel_regularizer/l2")
    assert list(measured.values()) == pytest.approx([expected], rel=2e-3)


def test_slopes_are_plain_when_gradients_are_transformed():
    """The moments of clipped gradients say nothing about those that are not."""
    model = plain_model(keras.optimizers.Adam, l1=0.0, activity=0.0, smoothing=0.0)
    clipping = [kx.gradients.ClipByNorm(1e-3)]
    model.compile(
        kx.optimizers.GradientPipeline(model.optimizer, transforms=clipping), model.loss
    )
    model.train_on_batch(*TRAIN)
    kernel = keras.ops.convert_to_numpy(model.get_layer("hidden").kernel)
    gradient = gradients(model, VALIDATION, penalties=False)[0]
    expected = -0.003 * np.sum(gradient * 2 * kernel) * START["l2"]
    measured = slopes(model, include="kernel_regularizer/l2")
    assert list(measured.values()) == pytest.approx([expected], rel=2e-3)


def gradients(model, data, penalties=True):
    """Of the cross entropy of a perceptron with tanh, written out."""
    w, b, v, c = (keras.ops.convert_to_numpy(w) for w in model.trainable_variables)
    x, y = data
    h = np.tanh(x @ w + b)
    logits = h @ v + c
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = (p - y) / len(x)
    back = (error @ v.T) * (1 - h**2)
    first = x.T @ back + (2 * START["l2"] * w if penalties else 0)
    return [first, back.sum(0), h.T @ error, error.sum(0)]


def test_slope_of_noise_is_that_of_the_expected_loss():
    """Noise on the inputs of a linear model is a ridge penalty, in closed form."""
    x, y = X[:40], X[:40] @ RNG.normal(size=(6, 1)) + RNG.normal(size=(40, 1))
    x_val, y_val = X[40:], X[40:] @ RNG.normal(size=(6, 1))
    deviation, rate = 0.5, 0.01
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.GaussianNoise(deviation, name="noise"),
            keras.layers.Dense(1, use_bias=False),
        ]
    )
    model.compile(keras.optimizers.SGD(rate), "mse")
    w = keras.ops.convert_to_numpy(model.trainable_variables[0])
    callback = AdaptiveRegularization((x, y), (x_val, y_val))
    callback.set_model(model)
    probe = SlopeProbe((x, y), (x_val, y_val), seed=0)
    measured = []
    for seed in range(60):
        model.get_layer("noise").seed_generator.state.assign([seed, 0])
        measured += list(probe.measure(model, callback._knobs))
    # The expected training loss has deviation ** 2 * |w| ** 2 more.
    gradient = 2 * x_val.T @ (x_val @ w - y_val) / len(x_val)
    expected = -rate * float(np.sum(gradient * 2 * w)) * 2 * deviation**2
    error = np.std(measured) / math.sqrt(len(measured))
    assert error < 0.2 * abs(expected)
    # A finite difference of sinh(2 * 0.4) / 0.8, in place of 1.
    assert abs(np.mean(measured) - expected * np.sinh(0.8) / 0.8) < 3 * error


def test_measuring_slopes_leaves_the_model_as_it_was():
    model = plain_model(noise=keras.layers.Dropout(0.3, seed=3))
    model.train_on_batch(*TRAIN)
    callback = adapt("hypergradient")
    callback.set_model(model)
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.variables]
    values = callback._knobs.values()
    SlopeProbe(TRAIN, VALIDATION, seed=0).measure(model, callback._knobs)
    for kept, v in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(kept, keras.ops.convert_to_numpy(v))
    assert callback._knobs.values() == values


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


@pytest.mark.parametrize(
    ("rule", "epochs", "first"), thorough_but(RIDGES[:1], RIDGES, TRAININGS)
)
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


# The population.


def test_members_are_trained_as_if_alone():
    """Two members without a contest are two trainings, an epoch of each in turn."""
    model = plain_model(keras.optimizers.Adam)
    callback = adapt("population", members=2, warmup_epochs=9)
    fit(model, callback, epochs=6, shuffle=False)
    rows = callback.decisions
    assert [row["member"] for row in rows] == [0, 1, 0, 1, 0, 1]
    alone = []
    for values in (START, rows[0]["values"]):
        values = {KEYS.get(path, path): value for path, value in values.items()}
        model_alone = plain_model(keras.optimizers.Adam, **values)
        losses = []
        for _ in range(3):
            model_alone.fit(*TRAIN, epochs=1, shuffle=False, verbose=0)
            losses.append(validation_loss(model_alone))
        alone.append((losses, model_alone))
    for member, (losses, _) in enumerate(alone):
        ours = [row["validation_loss"] for row in rows[member::2]]
        np.testing.assert_allclose(ours, losses, rtol=1e-4)
    # The better one is left behind.
    best = min(alone, key=lambda pair: pair[0][-1])[1]
    for ours, expected in zip(model.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)
    assert model.optimizer.weight_decay == pytest.approx(best.optimizer.weight_decay)
    assert int(model.optimizer.iterations) == int(best.optimizer.iterations)


def test_the_worst_member_goes_on_as_the_best():
    callback = adapt("population", members=4)
    model = plain_model()
    rule = start(callback, model)
    for loss in (3.0, 1.0, 2.0, 4.0):
        rule.before_epoch()
        model.trainable_variables[1].assign([loss] * 5)
        row = decide(rule, loss)
    assert row.note == "member 3, 3 goes on as 1"
    first = [state[1][0] for state in rule._states]
    assert first == [3.0, 1.0, 2.0, 1.0]
    best, copied = (rule._population.settings[i] for i in (1, 3))
    ratios = {round(copied[path] / best[path], 3) for path in best}
    assert ratios <= {0.6, 1.0, 1.6}
    rule.end()
    np.testing.assert_array_equal(model.trainable_variables[1], [1.0] * 5)
    kx.detach(model)


def test_a_member_that_has_no_loss_is_not_left_behind():
    callback = adapt("population", members=2)
    model = plain_model()
    rule = start(callback, model)
    for loss in (math.nan, 2.0, math.nan):
        rule.before_epoch()
        model.trainable_variables[1].assign([loss] * 5)
        decide(rule, loss)
    rule.end()
    np.testing.assert_array_equal(model.trainable_variables[1], [2.0] * 5)
    kx.detach(model)


def start(callback, model):
    callback.set_model(model)
    callback.on_train_begin()
    return callback._rule


def decide(rule, validation_loss, warming_up=False):
    from keras_ext.callbacks.regularization._rules import Sensed

    return rule.decide(Sensed(0.1, validation_loss, 0.3, warming_up))


# All of them.


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


@pytest.mark.parametrize(
    "rule", thorough_but(["hypergradient"], ["hypergradient", "population"])
)
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
