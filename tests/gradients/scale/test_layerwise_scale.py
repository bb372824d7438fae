"""Factors for layers against optimizers with learning rates of their own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext import hyper_variables
from keras_ext.gradients import LayerwiseScale
from keras_ext.optimizers import GradientPipeline
from tests.thorough import LONG, thorough_but

SHAPES = {"body": (3, 4), "neck": (4,), "head": (4, 2)}
FACTORS = {"body": 0.1, "neck": 2.0, "head": 1.0}
OPTIMIZERS = {
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    "adam": lambda rate: keras.optimizers.Adam(rate),
    # Keras multiplies its weight decay by the learning rate.
    "adamw": lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.1),
    "lion": lambda rate: keras.optimizers.Lion(rate, weight_decay=0.1),
}


def make_variables():
    rng = np.random.default_rng(0)
    return [
        keras.Variable(rng.normal(size=shape), dtype="float32", name=name)
        for name, shape in SHAPES.items()
    ]


def stream(updates=20):
    rng = np.random.default_rng(1)
    return [
        [tf.constant(rng.normal(size=s), "float32") for s in SHAPES.values()]
        for _ in range(updates)
    ]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.thorough(LONG)
def test_is_what_optimizers_with_their_own_learning_rates_do(name):
    make = OPTIMIZERS[name]
    scaled, plain = make_variables(), make_variables()
    transform = LayerwiseScale({"body": 0.1, "neck": 2.0})
    pipeline = GradientPipeline(make(0.01), [transform])
    own = [make(0.01 * FACTORS[v.name]) for v in plain]
    for gradients in stream():
        pipeline.apply(gradients, scaled)
        for optimizer, gradient, variable in zip(own, gradients, plain, strict=True):
            optimizer.apply([gradient], [variable])
    for a, e in zip(scaled, plain, strict=True):
        np.testing.assert_allclose(a.numpy(), e.numpy(), rtol=1e-5, atol=2e-6)


def test_follows_the_schedule_of_the_learning_rate():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)
    scaled, plain = make_variables(), make_variables()
    transform = LayerwiseScale({}, default=0.5)
    pipeline = GradientPipeline(keras.optimizers.SGD(schedule), [transform])
    halved = keras.optimizers.schedules.ExponentialDecay(0.05, 5, 0.5)
    optimizer = keras.optimizers.SGD(halved)
    for gradients in stream():
        pipeline.apply(gradients, scaled)
        optimizer.apply(gradients, plain)
    for a, e in zip(scaled, plain, strict=True):
        np.testing.assert_allclose(a.numpy(), e.numpy(), rtol=1e-5, atol=1e-6)


def moved(transform, updates=1):
    """How far each weight moves by gradients of 1 and a learning rate of 1."""
    variables = make_variables()
    before = [v.numpy() for v in variables]
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [transform])
    for _ in range(updates):
        optimizer.apply([tf.ones(v.shape) for v in variables], variables)
    return {
        v.name: float(np.mean(b - v.numpy()))
        for v, b in zip(variables, before, strict=True)
    }


def test_the_first_pattern_that_fits_counts():
    factors = LayerwiseScale({"^n": 0.5, "ea|ne": 0.25}, default=0.125)
    assert moved(factors) == pytest.approx({"body": 0.125, "neck": 0.5, "head": 0.25})


def test_a_factor_of_zero_and_of_one_keep_every_bit():
    variables, plain = make_variables(), make_variables()
    transform = LayerwiseScale({"body": 0.0})
    optimizer = GradientPipeline(keras.optimizers.Adam(0.1), [transform])
    other = keras.optimizers.Adam(0.1)
    start = variables[0].numpy()
    for gradients in stream(5):
        optimizer.apply(gradients, variables)
        other.apply(gradients, plain)
    np.testing.assert_array_equal(variables[0].numpy(), start)
    for a, e in zip(variables[1:], plain[1:], strict=True):
        np.testing.assert_array_equal(a.numpy(), e.numpy())


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
def test_the_factors_are_live(jit_compile):
    transform = LayerwiseScale({"body": 0.5})
    variables = make_variables()
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [transform])
    optimizer.build(variables)

    @tf.function(autograph=False, jit_compile=jit_compile)
    def step():
        optimizer.apply([tf.ones(v.shape) for v in variables], variables)

    moves = []
    for factor in (0.5, 0.25, 0.0):
        transform.factors[0].assign(factor)
        before = variables[0].numpy()
        step()
        moves.append(float(np.mean(before - variables[0].numpy())))
    assert moves == pytest.approx([0.5, 0.25, 0.0], abs=1e-6)


def make_model():
    encoder = keras.Sequential(
        [
            keras.layers.Embedding(9, 4, name="embedding"),
            keras.layers.Dense(4, name="block_0"),
            keras.layers.LayerNormalization(name="norm"),
        ],
        name="encoder",
    )
    return keras.Sequential(
        [
            keras.Input((3,)),
            encoder,
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="head"),
        ],
        name="model",
    )


def test_by_depth_of_a_model():
    model = make_model()
    transform = LayerwiseScale.by_depth(model, decay=0.5, exclude="bias")
    assert transform.exclude == "bias"
    model.compile(GradientPipeline("sgd", [transform]), "mse")
    model.optimizer.build(model.trainable_variables)
    found = {
        v.path: float(transform.factor(v, None, None))
        for v in model.trainable_variables
    }
    assert found == {
        "model/encoder/embedding/embeddings": 0.25,
        "model/encoder/block_0/kernel": 0.5,
        "model/encoder/block_0/bias": 0.5,
        "model/encoder/norm/gamma": 0.5,
        "model/encoder/norm/beta": 0.5,
        "model/head/kernel": 1.0,
        "model/head/bias": 1.0,
    }
    names = [name for name in hyper_variables(model) if "layerwise_scale" in name]
    assert names == [
        "optimizer/layerwise_scale/factor_0",
        "optimizer/layerwise_scale/factor_1",
        "optimizer/layerwise_scale/factor_2",
        "optimizer/layerwise_scale/default",
    ]


def test_by_depth_of_patterns_is_that_of_ulmfit():
    """The numbers of the paper: each layer a 2.6th of the next one."""
    transform = LayerwiseScale.by_depth(["body", "neck", "head"], decay=1 / 2.6)
    expected = {"body": 1 / 2.6**2, "neck": 1 / 2.6, "head": 1.0}
    assert moved(transform) == pytest.approx(expected, rel=1e-5)


def test_a_model_by_depth_is_saved(tmp_path):
    model = make_model()
    transform = LayerwiseScale.by_depth(model, decay=0.5)
    model.compile(GradientPipeline("sgd", [transform]), "mse")
    model.optimizer.build(model.trainable_variables)
    transform.factors[1].assign(0.75)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    (restored,) = loaded.optimizer.transforms
    assert restored.patterns == transform.patterns
    assert [float(f) for f in restored.factors] == [0.25, 0.75, 1.0]
    # Keras drops the names of the models from the paths.
    assert {
        v.path: float(restored.factor(v, None, None))
        for v in loaded.trainable_variables
    } == {
        "embedding/embeddings": 0.25,
        "block_0/kernel": 0.75,
        "block_0/bias": 0.75,
        "norm/gamma": 0.75,
        "norm/beta": 0.75,
        "head/kernel": 1.0,
        "head/bias": 1.0,
    }


def test_by_depth_tells_equal_names_in_different_models_apart():
    def inner(name):
        return keras.Sequential([keras.layers.Dense(2, name="dense")], name=name)

    model = keras.Sequential([keras.Input((2,)), inner("a"), inner("b")], name="model")
    transform = LayerwiseScale.by_depth(model, decay=0.5)
    transform.build(model.trainable_variables, {})
    found = [float(transform.factor(v, None, None)) for v in model.variables]
    assert found == [0.5, 0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    "factors", [{"tail": 0.5}, {"body": 1.0, "bod": 0.5}, {"": 0.5, "head": 1.0}]
)
def test_a_pattern_that_never_counts_is_an_error(factors):
    idle = list(factors)[-1]
    message = rf"each the first to fit.*'{idle}'\] are not, among \['body', 'neck'"
    with pytest.raises(ValueError, match=message):
        moved(LayerwiseScale(factors))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LayerwiseScale(0.5), r"`factors` must be a dictionary from regular"),
        (lambda: LayerwiseScale({"a": -1}), r"to numbers >= 0\. Received: factors="),
        (lambda: LayerwiseScale({1: 1.0}), r"`factors` must be a dictionary"),
        (lambda: LayerwiseScale({"(": 1.0}), r"`factors` must be .*'\(' fails"),
        (lambda: LayerwiseScale({}, default=-1), r"`default` must be a number >= 0"),
        (lambda: LayerwiseScale.by_depth(["a"], 0), r"`decay` must be a number > 0"),
        (
            lambda: LayerwiseScale.by_depth(keras.Sequential()),
            r"`model.built` must be True",
        ),
    ],
)
def test_rejects_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
