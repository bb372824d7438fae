"""Frozen weights against `trainable = False` of plain Keras."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import Freeze
from keras_ext.optimizers import GradientPipeline
from tests.thorough import LONG, thorough_but

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 5)).astype("float32")
Y = RNG.normal(size=(64, 2)).astype("float32")
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, centered=True, momentum=0.5),
    "adafactor": lambda: keras.optimizers.Adafactor(0.01),
    "lion": lambda: keras.optimizers.Lion(0.01, weight_decay=0.1),
    "muon": lambda: keras.optimizers.Muon(0.01),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.AdamW(0.01, weight_decay=0.1)
    ),
}


def make_model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(4, "tanh", name="body"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(2, name="head"),
        ],
        name="model",
    )


def compiled(make_optimizer, *transforms, **options):
    model = make_model()
    pipeline = GradientPipeline(make_optimizer(), transforms, **options)
    model.compile(pipeline, "mse")
    pipeline.build(model.trainable_variables)
    return model


def fit(model, epochs=2, **options):
    options = {"batch_size": 16, "shuffle": False, "verbose": 0, **options}
    model.fit(X, Y, epochs=epochs, **options)
    return model


def weights(model):
    return {v.path: v.numpy() for v in model.weights}


def assert_same(actual, expected, **tolerance):
    assert actual.keys() == expected.keys()
    for path, e in expected.items():
        a = actual[path]
        np.testing.assert_allclose(a, e, **{"rtol": 0, **tolerance}, err_msg=path)


# One that scales the loss as well, and one that does not.
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.thorough(LONG)
def test_is_what_keras_does_without_the_frozen_weights(name):
    actual = fit(compiled(OPTIMIZERS[name], Freeze(include="body")))
    plain = make_model()
    plain.get_layer("body").trainable = False
    plain.compile(OPTIMIZERS[name](), "mse")
    fit(plain)
    assert_same(weights(actual), weights(plain), atol=2e-6)
    for a, e in zip(
        actual.get_layer("body").weights,
        make_model().get_layer("body").weights,
        strict=True,
    ):
        np.testing.assert_array_equal(a.numpy(), e.numpy())


@pytest.mark.parametrize("special", [-0.0, 1e-40, 3e38])
def test_keeps_every_bit(special):
    variable = keras.Variable(np.float32([special, 1.0]), name="w")
    bits = variable.numpy().tobytes()
    optimizer = GradientPipeline(
        keras.optimizers.SGD(1.0, momentum=0.9, weight_decay=0.5), [Freeze()]
    )
    for gradient in (1.0, -1e15, 0.0):
        optimizer.apply([tf.constant([gradient, gradient])], [variable])
    assert variable.numpy().tobytes() == bits


def test_keeps_it_even_if_the_optimizer_makes_it_nan():
    variable = keras.Variable([1.0], name="w")
    optimizer = GradientPipeline(keras.optimizers.SGD(1e38), [Freeze()])
    optimizer.apply([tf.constant([1e15])], [variable])
    assert variable.numpy() == 1.0


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
@pytest.mark.parametrize("replicas", thorough_but({1}, [1, 2]))
def test_freezing_and_thawing_need_no_new_trace(strategies, replicas, jit_compile):
    strategy = strategies(replicas)
    traces = []
    freeze = Freeze()
    with strategy.scope():
        variables = [keras.Variable([0.0], name=name) for name in "bc"]
        optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [freeze])
        optimizer.build(variables)

    @tf.function(autograph=False, jit_compile=jit_compile and replicas == 1)
    def step():
        traces.append(1)
        strategy.run(
            lambda: optimizer.apply([tf.ones(1) / replicas] * 2, variables),
        )

    def after():
        step()
        return [float(v.numpy()[0]) for v in variables]

    assert after() == [0.0, 0.0]
    freeze.thaw("b")
    assert after() == [-1.0, 0.0]
    freeze.freeze()
    freeze.thaw(["c"])
    assert after() == [-1.0, -1.0]
    freeze.thaw()
    assert after() == [-2.0, -2.0]
    assert [freeze.is_frozen(v) for v in variables] == [False, False]
    freeze.freeze(lambda v: v.name == "b")
    assert [freeze.is_frozen(v) for v in variables] == [True, False]
    assert after() == [-2.0, -3.0]
    assert len(traces) == 1


def test_the_averages_of_adam_go_on_while_frozen():
    """So the first step after thawing is not as long as the learning rate."""
    steps = []
    for known in (True, False):
        freeze = Freeze()
        optimizer = GradientPipeline(keras.optimizers.Adam(1.0), [freeze])
        variable = keras.Variable([0.0], name="w")
        for i in range(100 if known else 0):
            optimizer.apply([tf.constant([(-1.0) ** i])], [variable])
        assert variable.numpy() == 0.0
        freeze.thaw()
        optimizer.apply([tf.constant([1e-3])], [variable])
        steps.append(abs(float(variable[0])))
    assert steps[0] < 0.1 < 0.99 < steps[1]


@pytest.mark.parametrize("accumulation_steps", [1, 2])
@pytest.mark.thorough(LONG)
def test_two_replicas_give_the_weights_of_one(strategies, accumulation_steps):
    results = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            freeze = Freeze(include="body")
            freeze.thaw("bias")
            model = compiled(
                OPTIMIZERS["adamw"], freeze, accumulation_steps=accumulation_steps
            )
            # Its statistics are those of a replica.
            model.get_layer("norm").trainable = False
        results.append(weights(fit(model)))
    before = weights(make_model())
    assert_same(results[1], results[0], atol=1e-5)
    np.testing.assert_array_equal(
        results[0]["model/body/kernel"], before["model/body/kernel"]
    )


def test_is_saved_with_the_model(tmp_path):
    freeze = Freeze()
    model = compiled(OPTIMIZERS["sgd"], freeze)
    freeze.thaw("head")
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    (restored,) = loaded.optimizer.transforms
    frozen = {
        v.path.split("/")[-2]
        for v in loaded.trainable_variables
        if restored.is_frozen(v)
    }
    assert frozen == {"body", "norm"}
    before = weights(loaded)
    after = weights(fit(loaded))
    for path in before:
        is_same = np.array_equal(before[path], after[path])
        assert is_same == ("body" in path or "gamma" in path or "beta" in path)


def test_says_how_much_is_frozen():
    freeze = Freeze(include="body", frozen=False)
    assert freeze.frozen_fraction == 0.0
    model = compiled(OPTIMIZERS["sgd"], freeze)
    assert freeze.frozen_fraction == 0.0
    freeze.freeze("kernel")
    assert freeze.frozen_fraction == pytest.approx(20 / (20 + 4 + 4 + 4 + 8 + 2))
    assert model.optimizer.own_variables


def test_a_pattern_without_a_weight_is_an_error():
    freeze = Freeze(include="body")
    compiled(OPTIMIZERS["sgd"], freeze)
    message = r"`pattern` must be one that fits one of \[.*body/kernel.*'head'"
    for act in (freeze.thaw, freeze.freeze):
        with pytest.raises(ValueError, match=message):
            act("head")
    early = Freeze()
    early.thaw("neck")
    with pytest.raises(ValueError, match=r"`pattern` must be .* pattern='neck'"):
        compiled(OPTIMIZERS["sgd"], early)
    with pytest.raises(ValueError, match=r"`include` must be .* include='neck'"):
        compiled(OPTIMIZERS["sgd"], Freeze(include="neck"))


def test_does_not_go_with_the_averages_of_keras():
    message = r"`optimizer.use_ema` must be False with an UpdateScale"
    with pytest.raises(ValueError, match=message):
        compiled(lambda: keras.optimizers.SGD(0.1, use_ema=True), Freeze())


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: Freeze(frozen=1),
            "`frozen` must be True or False. Received: frozen=1.",
        ),
        (lambda: Freeze().thaw(3), "`pattern` must be a regular expression, a list"),
        (lambda: Freeze(exclude=3), "`exclude` must be a regular expression, a list"),
    ],
)
def test_rejects_bad_arguments(act, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        act()
