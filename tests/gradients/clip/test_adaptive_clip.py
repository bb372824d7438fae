"""Adaptive clipping against optax, for the weights of every kind of layer."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_ext._anatomy._unit_axes import default_unit_axes
from keras_ext.gradients import AdaptiveClip
from keras_ext.optimizers import GradientPipeline, unit_axes

# Made with optax by make_adaptive_clip.py, which says what one unit is.
FIXTURE = dict(np.load(Path(__file__).parents[2] / "fixtures" / "adaptive_clip.npz"))
CLIPPING = float(FIXTURE.pop("clipping"))
EPSILON = float(FIXTURE.pop("epsilon"))


class Scale(layers.Layer):
    def build(self, input_shape):
        self.scalar = self.add_weight(shape=(), name="scalar")

    def call(self, inputs):
        return inputs * self.scalar


def einsum(equation, output_shape, **kwargs):
    return lambda name: layers.EinsumDense(equation, output_shape, name=name, **kwargs)


# From the name of a layer to the layer and the shapes of its inputs.
LAYERS = {
    "dense": (lambda n: layers.Dense(7, name=n), [(5,)]),
    "conv1d": (lambda n: layers.Conv1D(7, 2, name=n), [(8, 3)]),
    "conv2d": (lambda n: layers.Conv2D(7, (2, 3), name=n), [(8, 8, 4)]),
    "conv2d_groups": (
        lambda n: layers.Conv2D(6, (2, 3), groups=2, name=n),
        [(8, 8, 4)],
    ),
    "conv3d": (lambda n: layers.Conv3D(6, (2, 1, 3), name=n), [(4, 4, 4, 4)]),
    "conv1d_transpose": (lambda n: layers.Conv1DTranspose(7, 3, name=n), [(8, 4)]),
    "conv2d_transpose": (
        lambda n: layers.Conv2DTranspose(7, (2, 3), name=n),
        [(8, 8, 4)],
    ),
    "conv3d_transpose": (
        lambda n: layers.Conv3DTranspose(7, (2, 1, 3), name=n),
        [(4, 4, 4, 4)],
    ),
    "depthwise_conv1d": (
        lambda n: layers.DepthwiseConv1D(5, depth_multiplier=2, name=n),
        [(8, 3)],
    ),
    "depthwise_conv2d": (
        lambda n: layers.DepthwiseConv2D((5, 4), depth_multiplier=2, name=n),
        [(8, 8, 3)],
    ),
    "separable_conv1d": (
        lambda n: layers.SeparableConv1D(7, 5, depth_multiplier=2, name=n),
        [(8, 3)],
    ),
    "separable_conv2d": (
        lambda n: layers.SeparableConv2D(7, (5, 4), depth_multiplier=2, name=n),
        [(8, 8, 3)],
    ),
    "embedding": (lambda n: layers.Embedding(9, 4, name=n), [(6,)]),
    "reversible_embedding": (
        lambda n: layers.ReversibleEmbedding(9, 4, tie_weights=False, name=n),
        [(6,)],
    ),
    "einsum_dense": (einsum("ab,bc->ac", 7, bias_axes="c"), [(5,)]),
    "einsum_dense_transposed": (einsum("ab,cb->ac", 7), [(5,)]),
    "einsum_dense_two_in": (einsum("abc,bdc->ad", 7), [(3, 5)]),
    "einsum_dense_each": (einsum("abc,bcd->abd", (3, 4)), [(3, 5)]),
    "einsum_dense_dots": (einsum("...x,xy->...y", 7), [(5,)]),
    "attention": (
        lambda n: layers.MultiHeadAttention(2, 3, name=n),
        [(4, 5), (4, 5)],
    ),
    "grouped_attention": (
        lambda n: layers.GroupQueryAttention(3, 4, 2, name=n),
        [(4, 5), (4, 5)],
    ),
    "lstm": (lambda n: layers.LSTM(3, name=n), [(4, 5)]),
    "gru": (lambda n: layers.GRU(3, name=n), [(4, 5)]),
    "scale": (lambda n: Scale(name=n), [(5,)]),
}


def model_of(kind):
    make, shapes = LAYERS[kind]
    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs, make(kind)(*inputs))


def built(clip, variables, axes=None):
    clip.build(variables, axes or {v.path: default_unit_axes(v) for v in variables})
    return clip


def norm(x, axis=0):
    return np.linalg.norm(np.asarray(x, "float64"), axis=axis, keepdims=True)


def test_the_fixture_has_every_layer():
    assert {path.split("/")[0] for path in FIXTURE} == set(LAYERS)


@pytest.mark.parametrize("kind", LAYERS)
def test_equals_optax_for_the_weights_of_every_kind_of_layer(kind):
    model = model_of(kind)
    variables = model.trainable_variables
    assert {v.path for v in variables} == {
        path for path in FIXTURE if path.split("/")[0] == kind
    }
    clip = built(AdaptiveClip(CLIPPING, epsilon=EPSILON), variables, unit_axes(model))
    weights, gradients, expected = zip(
        *(FIXTURE[v.path] for v in variables), strict=True
    )
    for variable, weight in zip(variables, weights, strict=True):
        assert tuple(variable.shape) == weight.shape
        variable.assign(weight)
    actual = clip([tf.constant(g) for g in gradients], variables)
    for variable, a, e in zip(variables, actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, err_msg=variable.path)


@pytest.mark.parametrize("kind", ["conv1d_transpose", "attention", "gru"])
def test_the_pipeline_moves_the_weights_by_what_optax_says(kind):
    model = model_of(kind)
    variables = model.trainable_variables
    optimizer = GradientPipeline(
        keras.optimizers.SGD(1.0),
        transforms=[AdaptiveClip(CLIPPING, epsilon=EPSILON)],
        unit_axes=unit_axes(model),
    )
    weights, gradients, expected = zip(
        *(FIXTURE[v.path] for v in variables), strict=True
    )
    for variable, weight in zip(variables, weights, strict=True):
        variable.assign(weight)
    optimizer.apply([tf.constant(g) for g in gradients], variables)
    for variable, w, e in zip(variables, weights, expected, strict=True):
        # What is left of the move after it was rounded to a digit of the weight.
        rounding = 2 * np.spacing(np.abs(w).max())
        np.testing.assert_allclose(w - variable.numpy(), e, rtol=1e-5, atol=rounding)


def test_units_within_the_limit_keep_every_bit():
    rng = np.random.default_rng(0)
    kernel = keras.Variable(rng.normal(size=(50, 8)), dtype="float32", name="kernel")
    gradient = rng.normal(size=(50, 8)).astype("float32")
    gradient *= np.float32(0.0999) * norm(kernel) / norm(gradient)
    gradient[:, 1::2] *= 1e3
    gradient = gradient.astype("float32")
    (clipped,) = built(AdaptiveClip(0.1), [kernel])([tf.constant(gradient)], [kernel])
    np.testing.assert_array_equal(clipped[:, ::2], gradient[:, ::2])
    assert (np.asarray(clipped)[:, 1::2] != gradient[:, 1::2]).all()


def test_beyond_the_limit_only_the_direction_of_the_gradient_counts():
    rng = np.random.default_rng(0)
    kernel = keras.Variable(rng.normal(size=(5, 3)), dtype="float32", name="kernel")
    clip = built(AdaptiveClip(0.1), [kernel])
    gradient = rng.normal(size=(5, 3)).astype("float32")
    gradient /= norm(gradient).astype("float32")
    expected = gradient * 0.1 * norm(kernel)
    for scale in (1e1, 1e6, 1e15):
        (clipped,) = clip([tf.constant(np.float32(scale) * gradient)], [kernel])
        np.testing.assert_allclose(clipped, expected, rtol=1e-5)


def test_a_gradient_of_zero_stays_zero():
    variables = [
        keras.Variable(np.zeros((3, 2)), dtype="float32", name="zero"),
        keras.Variable(np.ones((3, 2)), dtype="float32", name="one"),
    ]
    zeros = [tf.zeros((3, 2))] * 2
    for clipped in built(AdaptiveClip(), variables)(zeros, variables):
        np.testing.assert_array_equal(clipped, 0.0)


def test_a_clipping_of_zero_stops_everything():
    kernel = keras.Variable(np.ones((3, 2)), dtype="float32", name="kernel")
    gradient = tf.fill((3, 2), 1e-20)
    (clipped,) = built(AdaptiveClip(0.0), [kernel])([gradient], [kernel])
    np.testing.assert_array_equal(clipped, 0.0)


def test_weights_of_zero_move_by_the_floor():
    kernel = keras.Variable(np.zeros((2, 1)), dtype="float32", name="kernel")
    clip = built(AdaptiveClip(0.5, epsilon=0.01), [kernel])
    (clipped,) = clip([tf.constant([[30.0], [40.0]])], [kernel])
    np.testing.assert_allclose(clipped, [[0.003], [0.004]], rtol=1e-6)


@pytest.mark.parametrize(
    # The largest error of rounding a number, relative to it.
    ("dtype", "rounding"),
    [("float16", 2.0**-11), ("bfloat16", 2.0**-8)],
)
def test_half_precision_is_as_good_as_its_last_digit(dtype, rounding):
    rng = np.random.default_rng(0)
    kernel = keras.Variable(rng.normal(size=(300, 4)), dtype=dtype, name="kernel")
    weight = np.asarray(tf.cast(kernel.value, "float64"))
    # The squares of the third column overflow float16, those of the fourth vanish.
    gradient = rng.normal(size=(300, 4)) * [0.1, 3.0, 300.0, 1e-4]
    gradient = tf.cast(gradient, dtype)
    (clipped,) = built(AdaptiveClip(0.3), [kernel])([gradient], [kernel])
    assert clipped.dtype == dtype

    exact = np.asarray(tf.cast(gradient, "float64"))
    expected = exact * np.minimum(1.0, 0.3 * norm(weight) / norm(exact))
    actual = np.asarray(tf.cast(clipped, "float64"))
    np.testing.assert_array_equal(actual[:, [0, 3]], exact[:, [0, 3]])
    # Two roundings: of the factor and of the product.
    np.testing.assert_allclose(actual, expected, rtol=2.1 * rounding, atol=1e-7)


def test_a_tiny_factor_does_not_vanish_in_float16():
    # The factor, 1e-8, is too small for float16, but the product, 1e-4, is not.
    kernel = keras.Variable([[1e-2]], dtype="float16", name="kernel")
    clip = built(AdaptiveClip(0.01), [kernel])
    (clipped,) = clip([tf.constant([[1e4]], "float16")], [kernel])
    np.testing.assert_allclose(float(clipped[0, 0]), 1e-4, rtol=2e-3)


PREDICATES = [
    ({"include": "kernel"}, {"kernel"}),
    ({"include": ["^kernel", "^bias"]}, {"kernel", "bias"}),
    ({"include": lambda v: len(v.shape) == 1}, {"bias", "head"}),
    ({"exclude": "e"}, {"bias"}),
    ({"exclude": ["bias", "head"]}, {"kernel"}),
    ({"exclude": lambda v: v.name == "head"}, {"kernel", "bias"}),
    ({"include": "e", "exclude": "kernel"}, {"head"}),
    ({}, {"kernel", "bias", "head"}),
]


@pytest.mark.parametrize(("kwargs", "clipped"), PREDICATES)
def test_clips_what_is_included_and_not_excluded(kwargs, clipped):
    variables = [
        keras.Variable(np.ones((2, 2)), dtype="float32", name="kernel"),
        keras.Variable(np.ones(2), dtype="float32", name="bias"),
        keras.Variable(np.ones(3), dtype="float32", name="head"),
    ]
    clip = built(AdaptiveClip(0.1, **kwargs), variables)
    gradients = [tf.ones(v.shape) for v in variables]
    actual = clip(gradients, variables)
    changed = {
        v.name
        for v, a in zip(variables, actual, strict=True)
        if not np.array_equal(a, np.ones(v.shape))
    }
    assert changed == clipped


def test_the_order_of_the_gradients_is_kept():
    variables = [
        keras.Variable(np.ones(1), dtype="float32", name=name) for name in "abc"
    ]
    clip = built(AdaptiveClip(1.0, include="b"), variables)
    actual = clip([tf.constant([x]) for x in (2.0, 3.0, 4.0)], variables)
    assert [float(a[0]) for a in actual] == [2.0, 1.0, 4.0]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_compiled_step_follows_the_clipping(jit_compile):
    clip = AdaptiveClip(0.5)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [clip])
    kernel = keras.Variable([[3.0], [4.0]], name="kernel")
    optimizer.build([kernel])
    traces = []

    @tf.function(autograph=False, jit_compile=jit_compile)
    def step():
        traces.append(1)
        optimizer.apply([tf.constant([[0.0], [100.0]])], [kernel])

    step()
    np.testing.assert_allclose(kernel, [[3.0], [1.5]], rtol=1e-6)
    kernel.assign([[3.0], [4.0]])
    clip.clipping.assign(0.1)
    step()
    np.testing.assert_allclose(kernel, [[3.0], [3.5]], rtol=1e-6)
    assert len(traces) == 1


def test_config_keeps_every_argument():
    clip = AdaptiveClip(0.2, epsilon=1e-4, include=["a", "b"], exclude="c")
    config = clip.get_config()
    assert config == {
        "clipping": 0.2,
        "epsilon": 1e-4,
        "include": ["a", "b"],
        "exclude": "c",
        "per": "unit",
    }
    assert AdaptiveClip.from_config(config).get_config() == config


def test_config_has_the_clipping_of_now():
    clip = AdaptiveClip(0.2)
    clip.clipping.assign(0.05)
    assert clip.get_config()["clipping"] == 0.05


def test_its_saved_name_stays():
    # Saved models contain it.
    assert keras.saving.get_registered_name(AdaptiveClip) == "keras_ext>AdaptiveClip"
    saved = keras.saving.serialize_keras_object(AdaptiveClip(0.2, exclude="head"))
    restored = keras.saving.deserialize_keras_object(saved)
    assert isinstance(restored, AdaptiveClip)
    assert float(restored.clipping) == 0.2
    assert restored.exclude == "head"


@keras.saving.register_keras_serializable("test_adaptive_clip")
def is_bias(variable):
    return variable.name == "bias"


def test_a_registered_predicate_is_saved_with_it(tmp_path):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    clip = AdaptiveClip(0.2, exclude=is_bias)
    model.compile(GradientPipeline("sgd", [clip]), "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    (restored,) = loaded.optimizer.transforms
    assert restored.exclude is is_bias


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"clipping": -0.1},
            "`clipping` must be a number >= 0. Received: clipping=-0.1.",
        ),
        (
            {"clipping": float("nan")},
            "`clipping` must be a number >= 0. Received: clipping=nan.",
        ),
        (
            {"clipping": "0.1"},
            "`clipping` must be a number >= 0. Received: clipping='0.1'.",
        ),
        ({"epsilon": 0}, "`epsilon` must be a number > 0. Received: epsilon=0."),
        (
            {"epsilon": True},
            "`epsilon` must be a number > 0. Received: epsilon=True.",
        ),
        (
            {"include": 3},
            "`include` must be a regular expression, a list of them, a function or "
            "None. Received: include=3.",
        ),
        (
            {"exclude": "("},
            "`exclude` must be a regular expression, a list of them, a function or "
            "None. Received: exclude='('. '(' fails: ",
        ),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        AdaptiveClip(**kwargs)
