import keras
import numpy as np
import pytest
import shap
import tensorflow as tf
from keras import activations, layers, ops

from keras_ext.explain import Explainer
from keras_ext.explain._calls import _kinds
from keras_ext.explain._calls._record import Call
from keras_ext.explain._methods import _deep_rules
from tests.explain.models import normal, outputs_of, perceptron
from tests.thorough import LONG, MATRIX

X, BACKGROUND = normal(5, 6, seed=1), normal(7, 6, seed=2)


def gated():
    inputs = keras.Input((6,))
    gate = layers.Dense(8, "sigmoid")(inputs)
    hidden = layers.Multiply()([gate, layers.Dense(8, "selu")(inputs)])
    return keras.Model(inputs, layers.Dense(1)(hidden))


def normalized():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, "softplus"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(1, "elu"),
        ]
    )


def images():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


@pytest.mark.parametrize("make", [perceptron, gated, normalized, images])
@pytest.mark.filterwarnings("ignore:The structure of:UserWarning")
@pytest.mark.filterwarnings("ignore:Your TensorFlow version:UserWarning")
@pytest.mark.thorough(LONG)
def test_is_what_shap_finds_where_shap_is_right(make):
    model = make()
    shape = model.input_shape[1:]
    x, background = normal(4, *shape, seed=1), normal(5, *shape, seed=2)
    explainer = Explainer(model, background, method="deep")
    reference = shap.DeepExplainer(model, background).shap_values(x)
    found = explainer(x).values
    np.testing.assert_allclose(found, reference.reshape(found.shape), atol=1e-5)


def test_operations_between_layers_and_shared_layers():
    inputs = keras.Input((6,))
    shared = layers.Dense(6, "tanh", name="shared")
    hidden = shared(shared(inputs) * 2 - 1) + ops.square(inputs)
    hidden = ops.concatenate([hidden, layers.Dropout(0.5)(inputs)], axis=-1)
    nested = keras.Sequential([keras.Input((12,)), layers.Dense(2), layers.ReLU()])
    model = keras.Model(inputs, nested(hidden))
    explainer = Explainer(model, BACKGROUND, method="deep")
    assert_adds_up(explainer, model, X)
    assert "call" not in vars(shared)
    assert shared.activation is activations.tanh


def assert_adds_up(explainer, model, x, nodes=1):
    """With few nodes, before what is missing is divided among the elements."""
    method, rows = explainer._explain, explainer._rows(x)
    values = method._explain(rows, np.arange(len(rows.which)), nodes)
    outputs = outputs_of(model, x)
    base = rows.background.mean(axis=0)
    np.testing.assert_allclose(values.sum(axis=1) + base, outputs, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.LSTM(4),
        pytest.param(
            lambda: layers.Bidirectional(layers.GRU(3)),
            marks=pytest.mark.thorough(MATRIX),
        ),
        lambda: layers.LayerNormalization(epsilon=1.0),
        lambda: layers.TimeDistributed(layers.Dense(2, "tanh")),
    ],
)
@pytest.mark.thorough(LONG)
def test_layers_without_a_rule_are_integrated(make):
    model = keras.Sequential(
        [keras.Input((5, 3)), make(), layers.Flatten(), layers.Dense(1)]
    )
    explainer = Explainer(model, normal(4, 5, 3, seed=1), method="deep")
    assert_adds_up(explainer, model, normal(3, 5, 3), nodes=32)


def test_attention_on_tokens():
    tokens = keras.Input((6,), dtype="int32")
    hidden = layers.Embedding(9, 4)(tokens)
    hidden = hidden + layers.MultiHeadAttention(2, 4)(hidden, hidden)
    model = keras.Model(tokens, layers.Dense(2)(layers.GlobalMaxPooling1D()(hidden)))
    rng = np.random.default_rng(0)
    explainer = Explainer(model, rng.integers(0, 9, (4, 6)), method="deep")
    x = rng.integers(0, 9, (5, 6))
    assert_adds_up(explainer, model, x, nodes=16)
    assert explainer(x).values.shape == (5, 6, 2)


def test_softmax_stays_tame_where_logits_coincide():
    """There the rule of shap 0.51 divides by a difference that vanishes."""
    model = keras.Sequential([keras.Input((2,)), layers.Softmax()])
    background = np.array([[1.0, -1.0]])
    for shift in (0.0, 1e-7, 1e-4, 1e-3):
        # The first logit is nearly the same, the second is not.
        x = np.array([[1.0 + shift, 1.0]])
        values = Explainer(model, background, method="deep")(x).values[0, :, 0]
        np.testing.assert_allclose(values, [0.0, 0.5 - 0.880797], atol=1e-3)


@pytest.mark.thorough(LONG)
def test_log_odds_and_functions_of_outputs():
    model = perceptron(6, 3, "softmax")
    for kwargs in ({"link": "logit"}, {"outputs": lambda y: y[:, 0] * y[:, 1]}):
        explainer = Explainer(model, BACKGROUND, method="deep", **kwargs)
        found = explainer(X)
        rows = explainer._rows(X)
        raw = explainer._explain._explain(rows, np.arange(5), 256).sum(axis=1)
        np.testing.assert_allclose(
            raw, rows.explained - rows.background.mean(axis=0), atol=1e-3
        )
        assert np.isfinite(found.values).all()


OPERATIONS = {
    "linear": [
        lambda x: x + 1.0,
        lambda x: 2.0 - x,
        lambda x: -x,
        lambda x: 2.0 * x / 3.0,
        lambda x: x[:, :2],
        lambda x: ops.concatenate([x, ops.expand_dims(x[:, 0], 1)], axis=1),
        lambda x: ops.squeeze(ops.expand_dims(x, 1), 1),
        lambda x: ops.transpose(ops.reshape(x, (-1, 2, 3)), (0, 2, 1)),
        lambda x: ops.mean(ops.stack([x, x], axis=1), axis=1),
        lambda x: ops.sum(x, axis=1, keepdims=True),
        lambda x: ops.pad(x, ((0, 0), (1, 0))),
    ],
    "elementwise": [
        *(ops.abs, ops.exp, ops.gelu, ops.hard_sigmoid, ops.hard_silu, ops.leaky_relu),
        *(ops.log_sigmoid, ops.relu, ops.relu6, ops.selu, ops.sigmoid, ops.silu),
        *(ops.softplus, ops.softsign, ops.square, ops.tanh, ops.elu, ops.celu),
    ],
    "product": [lambda x: x[:, :3] * x[:, 3:]],
    "general": [
        lambda x: ops.cumsum(x, axis=1),
        lambda x: ops.max(x, axis=1, keepdims=True),
        lambda x: ops.sort(x, axis=1),
    ],
}


@pytest.mark.parametrize("kind", OPERATIONS)
def test_operations_have_rules(kind):
    """Under another name in a new Keras, an operation would lose its rule."""
    for function in OPERATIONS[kind]:
        inputs = keras.Input((6,))
        model = keras.Model(inputs, function(inputs))
        rules = {_rule_name(operation) for operation in model.operations[1:]}
        assert kind in rules <= {kind, "linear"}, model.operations


def test_a_number_over_an_input_is_no_straight_line():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, 1.0 / inputs + ops.divide(3.0, x2=inputs))
    explainer = Explainer(model, [[1.0, 2.0]], method="deep")
    values = explainer(np.array([[2.0, 8.0]])).values
    np.testing.assert_allclose(values[0], [[-2, 0], [0, -1.5]], rtol=1e-5)


def test_a_link_is_followed_without_nodes_on_the_way():
    model = perceptron(6, 3, "softmax")
    explainer = Explainer(model, BACKGROUND, method="deep", link="logit")
    rows = explainer._rows(X)
    assert explainer(X).values.shape == (5, 6, 3)
    assert not explainer._explain._is_integrated
    raw = explainer._explain._explain(rows, np.arange(5), 1).sum(axis=1)
    np.testing.assert_allclose(
        raw, rows.explained - rows.background.mean(axis=0), atol=1e-3
    )


def _rule_name(operation):
    tensors = [tf.zeros((1, 2)), tf.zeros((1, 2))]
    name = type(operation).__name__
    used = tensors if name == "Multiply" and _is_product(operation) else tensors[:1]
    return _deep_rules.rule_of(
        Call(operation, None, tuple(used), {}, None, used)
    ).__name__


def _is_product(operation):
    return isinstance(operation.input, list) and len(operation.input) == 2


def test_activations_have_rules():
    for name in ("relu", "gelu", "silu", "tanh", "mish", "selu", "hard_sigmoid"):
        function = activations.get(name)
        assert _deep_rules.of_activation(function) is _deep_rules.elementwise
    assert _deep_rules.of_activation(activations.log_softmax) is _deep_rules.general
    known = [hasattr(activations, name) for name in _kinds.ELEMENTWISE]
    assert np.mean(known) > 0.9


@pytest.mark.thorough(LONG)
def test_convolutions_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model = images()
    explainer = Explainer(model, normal(4, 8, 8, 1), method="deep")
    found = explainer(normal(3, 8, 8, 1, seed=1))
    outputs = outputs_of(model, normal(3, 8, 8, 1, seed=1))
    total = found.values.sum(axis=(1, 2, 3)) + found.base_values
    np.testing.assert_allclose(total, outputs, atol=1e-2)


def test_says_which_layer_has_no_gradient():
    tokens = keras.Input((3,), dtype="int32")
    coded = layers.CategoryEncoding(4, name="coded")(tokens)
    model = keras.Model(tokens, layers.Dense(1)(coded))
    with pytest.raises(ValueError, match=r"'coded'.*\"permutation\""):
        Explainer(model, np.zeros((2, 3), "int32"), method="deep")
