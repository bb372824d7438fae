from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from keras_ext.explain.maps import attention_rollout
from tests.explain.models import normal, perceptron
from tests.thorough import LONG, thorough_but

REFERENCE = np.load(Path(__file__).parents[2] / "fixtures" / "torch_attention.npz")
X = REFERENCE["x"]


@keras.saving.register_keras_serializable("tests")
class Block(layers.Layer):
    """A layer that holds its attention."""

    def __init__(self, name=None):
        super().__init__(name=name)
        self.attention = layers.MultiHeadAttention(2, 4, name=f"{name}_attention")

    def call(self, x):
        return x + self.attention(x, x)


def of_torch(kind):
    """The model of the fixture: functional, of blocks, or nested."""
    inputs = keras.Input(X.shape[1:])
    blocks = [Block(f"block{i}") for i in range(2)]
    hidden = inputs
    for block in blocks:
        if kind == "functional":
            hidden = layers.Add()([hidden, block.attention(hidden, hidden)])
        else:
            hidden = block(hidden)
    model = keras.Model(inputs, hidden)
    for i, block in enumerate(blocks):
        block.attention.set_weights([REFERENCE[f"w{i}_{j}"] for j in range(8)])
    return keras.Sequential([inputs, model]) if kind == "nested" else model


@pytest.mark.parametrize("kind", ["functional", "blocks", "nested"])
def test_is_that_of_torch(kind):
    model = of_torch(kind)
    np.testing.assert_allclose(model(X), REFERENCE["outputs"], atol=1e-4)
    found = attention_rollout(model, X, query="all")
    np.testing.assert_allclose(found, REFERENCE["rollout"], atol=1e-5)
    # The layers work as before.
    np.testing.assert_allclose(model(X), REFERENCE["outputs"], atol=1e-4)


@pytest.mark.thorough(LONG)
def test_queries_heads_and_small_batches():
    model = of_torch("functional")
    expected = REFERENCE["rollout"]
    for query, wanted in {"mean": expected.mean(axis=1), -1: expected[:, -1]}.items():
        found = attention_rollout(model, X, query=query, batch_size=2)
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    found = attention_rollout(model, X, query="all", heads="max", jit=True)
    np.testing.assert_allclose(found, REFERENCE["rollout_max"], atol=1e-5)


@pytest.mark.thorough(LONG)
def test_chosen_layers_and_the_part_that_goes_around():
    model = of_torch("blocks")
    paths = ["block0/block0_attention", "block1/block1_attention"]
    one, two = (
        attention_rollout(model, X, query="all", residual=0.0, layers=[p])
        for p in paths
    )
    both = attention_rollout(model, X, query="all", residual=0.0)
    np.testing.assert_allclose(both, two @ one, atol=1e-6)
    alone = attention_rollout(model, X, query="all", residual=1.0)
    np.testing.assert_array_equal(alone, np.tile(np.eye(5), (3, 1, 1)))


def encoder(kind):
    inputs = keras.Input((None,), dtype="int32")
    hidden = layers.Embedding(9, 6, mask_zero=True)(inputs)
    if kind == "MultiHeadAttention":
        hidden = layers.MultiHeadAttention(2, 3)(hidden, hidden)
    else:
        for _ in range(2):
            added = getattr(layers, kind)()([hidden, hidden])
            hidden = layers.Add()([hidden, added])
    return keras.Model(inputs, layers.GlobalAveragePooling1D()(hidden))


@pytest.mark.parametrize(
    "kind",
    thorough_but(
        {"MultiHeadAttention", "Attention"},
        ["MultiHeadAttention", "Attention", "AdditiveAttention"],
    ),
)
def test_padding_changes_nothing(kind):
    keras.utils.set_random_seed(0)
    model = encoder(kind)
    short, padded = np.array([[1, 2, 3]]), np.array([[1, 2, 3, 0, 0]])
    for query in ("mean", 0):
        expected = attention_rollout(model, short, query=query)
        found = attention_rollout(model, padded, query=query)
        np.testing.assert_allclose(found[:, :3], expected, atol=1e-6)
        np.testing.assert_array_equal(found[:, 3:], 0)


def test_a_causal_model_knows_nothing_of_what_comes_later():
    inputs = keras.Input((4, 8))
    attend = layers.GroupQueryAttention(4, 4, 2)
    outputs = attend(inputs, inputs, use_causal_mask=True)
    model = keras.Model(inputs, outputs)
    found = attention_rollout(model, normal(3, 4, 8), query="all")
    assert (found[:, *np.triu_indices(4, 1)] == 0).all()
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)


def across():
    """Attention from two tokens to three."""
    x, y = keras.Input((2, 4)), keras.Input((3, 4))
    return keras.Model([x, y], layers.MultiHeadAttention(1, 2, name="across")(x, y))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"query": "first"}, '`query` must be an integer, "mean" or'),
        ({"query": 5}, "`query` must be the number of one of 5 tokens"),
        ({"heads": "sum"}, '`heads` must be "mean", "max" or "min"'),
        ({"residual": 1.5}, "`residual` must be a number in"),
        ({"layers": []}, "`layers` must be a list"),
        ({"layers": ["add"]}, "`layers` must be names or paths of attention layers"),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        attention_rollout(of_torch("functional"), X, **kwargs)


def test_rejects_models_without_self_attention():
    with pytest.raises(ValueError, match="`model` must be one with layers of the"):
        attention_rollout(perceptron(), normal(2, 6))
    with pytest.raises(ValueError, match=r"among the same tokens.*'across': \(2, 3\)"):
        attention_rollout(across(), [normal(2, 2, 4), normal(2, 3, 4)])
