import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_ext.explain.maps import input_x_gradient, lrp
from tests.explain.maps import captum
from tests.explain.models import Formula, normal, outputs_of, two_inputs
from tests.thorough import MATRIX, thorough_but

IMAGES = normal(3, 6, 6, 2)
RULES = ["epsilon", "gamma", "alpha_beta"]


@pytest.mark.parametrize(
    ("rule", "jit"),
    [
        pytest.param("epsilon", True, marks=pytest.mark.thorough(MATRIX)),
        ("epsilon", False),
        ("gamma", False),
    ],
)
def test_is_that_of_captum(rule, jit):
    found = lrp(captum.model(), captum.X, outputs=captum.TARGET, rule=rule, jit=jit)
    np.testing.assert_allclose(found, captum.REFERENCE[f"lrp_{rule}"], atol=1e-6)


def branched(use_bias, normalized=True):
    """Branches that are added and concatenated, with layers of many kinds."""
    kwargs = {"padding": "same", "use_bias": use_bias, "bias_initializer": "normal"}
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, activation="relu", **kwargs)(inputs)
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, **kwargs)(x)
    if normalized:
        y = layers.BatchNormalization()(y)
    y = layers.SeparableConv2D(4, 3, activation="relu", **kwargs)(layers.ReLU()(y))
    x = layers.MaxPooling2D()(layers.Add()([x, y]))
    x = layers.Concatenate()([x, ops.relu(2 * x - layers.AveragePooling2D(1)(x) / 3)])
    x = layers.Conv2DTranspose(3, 2, 2, **kwargs)(layers.Dropout(0.5)(x))
    x = layers.GlobalAveragePooling2D()(layers.ZeroPadding2D()(layers.ReLU()(x)))
    x = layers.Reshape((3, 1))(x)
    x = layers.EinsumDense("abc,cd->abd", (3, 5), activation="relu")(x)
    outputs = layers.Dense(3, use_bias=use_bias)(layers.Flatten()(x))
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("moving_mean", "beta", "gamma", "bias"):
            weight.assign(rng.normal(size=weight.shape))
    return model


def test_small_epsilon_in_a_network_of_relus_is_the_input_times_the_gradient():
    model = branched(use_bias=True)
    found = lrp(model, IMAGES, outputs=None, epsilon=1e-9)
    expected = input_x_gradient(model, IMAGES, outputs=None)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("rule", "alpha"),
    [
        ("epsilon", 2),
        pytest.param("gamma", 2, marks=pytest.mark.thorough(MATRIX)),
        pytest.param("alpha_beta", 1, marks=pytest.mark.thorough(MATRIX)),
    ],
)
def test_without_biases_the_map_adds_up_to_the_output(rule, alpha):
    model = branched(use_bias=False, normalized=False)
    images = np.abs(IMAGES)
    found = lrp(model, images, outputs=None, rule=rule, epsilon=1e-9, alpha=alpha).sum(
        axis=(1, 2, 3)
    )
    outputs = outputs_of(model, images)
    atol = 1e-3 * np.abs(outputs).max()
    np.testing.assert_allclose(found, outputs, atol=atol)


def dense_by_hand(x, w, b, rule, gamma, alpha):
    """Sums of products, for one output; the relevance is the output itself."""
    parts = np.concatenate([x[:, :, None] * w, np.broadcast_to(b, (len(x), 1, 1))], 1)
    total = parts.sum(axis=1, keepdims=True)
    up, down = np.maximum(parts, 0), np.minimum(parts, 0)
    if rule == "epsilon":
        shares = parts / total
    elif rule == "gamma":
        favored = parts + gamma * up
        shares = favored / favored.sum(axis=1, keepdims=True)
    else:
        shares = alpha * up / up.sum(axis=1, keepdims=True)
        shares += (1 - alpha) * down / down.sum(axis=1, keepdims=True)
    return (shares * total)[:, :-1, 0]


@pytest.mark.parametrize("rule", RULES)
def test_a_layer_by_hand(rule):
    x, w, b = normal(4, 5), normal(5, 1, seed=1), np.array([0.3])
    model = keras.Sequential([keras.Input((5,)), layers.Dense(1)])
    model.set_weights([w, b])
    found = lrp(model, x, rule=rule, epsilon=0, gamma=0.7, alpha=3)
    expected = dense_by_hand(x, w, b, rule, 0.7, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("rule", thorough_but({"gamma"}, ["gamma", "alpha_beta"]))
def test_batch_normalization_counts_as_part_of_the_layer_before(rule):
    rng = np.random.default_rng(0)
    kinds = (layers.SeparableConv1D, layers.Conv1D)
    behind = [layers.Flatten(), layers.Dense(2)]
    model, folded = keras.Sequential([keras.Input((6, 2))]), keras.Sequential()
    for kind in kinds:
        model.add(kind(4, 3, padding="same"))
        *kernels, bias = model.layers[-1].get_weights()
        model.add(layers.BatchNormalization())
        scale, shift, mean = rng.normal(size=(3, 4))
        variance = rng.uniform(0.5, 2, 4)
        model.layers[-1].set_weights([scale, shift, mean, variance])
        factor = scale / np.sqrt(variance + 1e-3)
        kernels[-1] = kernels[-1] * factor
        folded.add(kind(4, 3, padding="same"))
        folded.build((None, 6, 2))
        folded.layers[-1].set_weights([*kernels, (bias - mean) * factor + shift])
        for network in (model, folded):
            network.add(layers.ReLU())
    for network in (model, folded):
        for layer in behind:
            network.add(layer)
    x = normal(3, 6, 2)
    np.testing.assert_allclose(folded(x), model(x), atol=1e-5)
    found, expected = (lrp(m, x, rule=rule) for m in (model, folded))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    "end",
    [
        lambda x: layers.Dense(3, "softmax", name="last")(x),
        lambda x: layers.Softmax()(layers.Dense(3, name="last")(x)),
        lambda x: ops.sigmoid(layers.Dense(3, name="last")(x)),
        lambda x: layers.Activation("sigmoid")(layers.Dense(3, name="last")(x)),
    ],
)
def test_of_probabilities_the_logits_are_explained(end):
    inputs = keras.Input((4,))
    hidden = layers.Dense(5, "relu", name="hidden")(inputs)
    model = keras.Model(inputs, end(hidden))
    logits = keras.Model(inputs, layers.Dense(3)(hidden))
    logits.layers[-1].set_weights(model.get_layer("last").get_weights())
    x = normal(3, 4)
    np.testing.assert_allclose(lrp(model, x), lrp(logits, x), atol=1e-6)


def test_several_inputs_among_them_tokens():
    """Activations that pass all relevance, and no biases: nothing is lost."""
    model = two_inputs()
    rng = np.random.default_rng(0)
    x = {"number": normal(3, 2), "tokens": rng.integers(0, 7, (3, 3))}
    found = lrp(model, x, outputs=None, batch_size=5)
    assert found["tokens"].shape == (3, 3, 3)
    total = sum(array.sum(axis=1) for array in found.values())
    outputs = outputs_of(model, x)
    expected = np.concatenate([outputs["kind"], outputs["size"]], axis=1)
    np.testing.assert_allclose(total, expected, atol=1e-4)


def test_a_difference_of_outputs():
    model = captum.model()
    found = lrp(model, captum.X, outputs=lambda y: y[:, 2] - y[:, 0])
    every = lrp(model, captum.X, outputs=None)
    np.testing.assert_allclose(found, every[..., 2] - every[..., 0], atol=1e-6)


def test_a_rule_for_each_layer():
    def rule(layer):
        return "gamma" if isinstance(layer, layers.Conv2D) else "epsilon"

    found = lrp(captum.model(), captum.X, rule=rule)
    for name in ("gamma", "epsilon"):
        assert not np.allclose(found, lrp(captum.model(), captum.X, rule=name))
    with pytest.raises(ValueError, match=r"`rule` must be one of .* for each layer"):
        lrp(captum.model(), captum.X, rule=lambda layer: layer.name)


def test_scaling_and_constants_pass_relevance_on():
    """They are not biases: a black pixel can speak for an output as a white one can."""
    model = keras.Sequential(
        [keras.Input((3,)), layers.Rescaling(2.0, -1.0), layers.Dense(1)]
    )
    weights = np.array([1.0, -2.0, 4.0])
    model.set_weights([weights[:, None], np.zeros(1)])
    x = np.array([[0.0, 1.0, 0.25]])
    np.testing.assert_allclose(lrp(model, x), weights * (2 * x - 1), rtol=1e-4)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model = branched(use_bias=True)
    found = lrp(model, IMAGES, outputs=0, rule="gamma")
    keras.config.set_dtype_policy("float32")
    exact = branched(use_bias=True)
    exact.set_weights(model.get_weights())
    expected = lrp(exact, IMAGES, outputs=0, rule="gamma")
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_says_which_layer_has_no_rule():
    inputs = keras.Input((4, 3))
    for layer in (
        layers.LSTM(2, name="odd"),
        layers.LayerNormalization(name="odd"),
        layers.Dense(3, "softmax", name="odd"),
        layers.TimeDistributed(layers.Dense(2), name="odd"),
    ):
        head = layers.Dense(1)(layers.Flatten()(layer(inputs)))
        with pytest.raises(ValueError, match=r"rule for.*(odd|softmax).*\"deep\""):
            lrp(keras.Model(inputs, head), normal(2, 4, 3))
    with pytest.raises(ValueError, match=r"Received: model=\"Formula"):
        lrp(Formula(lambda a, b: a * b), normal(2, 2))


def squeezed(same_shape=False):
    """Squeeze-and-excitation, or a gate for each element."""
    inputs = keras.Input((6, 6, 2))
    signal = layers.Conv2D(4, 3, use_bias=False, activation="swish")(inputs)
    mean = layers.GlobalAveragePooling2D(keepdims=True)(signal)
    gate = layers.Conv2D(4, 3 if same_shape else 1, activation="sigmoid")(
        inputs if same_shape else mean
    )
    both = layers.GlobalAveragePooling2D()(layers.Multiply()([signal, gate]))
    return keras.Model(inputs, layers.Dense(2, use_bias=False)(both))


def test_gates_weigh_and_factors_share():
    model = squeezed()
    found = lrp(model, IMAGES, outputs=None, epsilon=1e-9).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(found, outputs_of(model, IMAGES), atol=1e-4)
    # A half goes to the gate, whose bias keeps nothing, as it is zero.
    model = squeezed(same_shape=True)
    found = lrp(model, IMAGES, outputs=None, epsilon=1e-9).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(found, outputs_of(model, IMAGES), atol=1e-4)
    inputs = keras.Input((3,))
    x = normal(2, 3)
    square = keras.Model(inputs, layers.Dense(1, use_bias=False)(inputs * inputs))
    found = lrp(square, x)
    np.testing.assert_allclose(found, x**2 * square.get_weights()[0][:, 0], rtol=1e-4)


def test_rejects_bad_arguments():
    bad = {"rule": "beta", "epsilon": -1.0, "gamma": -0.1, "alpha": 0.5}
    for name, value in bad.items():
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            lrp(captum.model(), captum.X, **{name: value})
