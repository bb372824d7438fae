import keras
import pytest
import tensorflow as tf

from keras_ext._anatomy._flops import flops

layers = keras.layers


def of(*stack):
    return flops(keras.Sequential(stack))


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ([keras.Input((7, 3)), layers.Dense(5)], 2 * 7 * 3 * 5),
        ([keras.Input((9, 3)), layers.Conv1D(4, 3)], 2 * 7 * 4 * 3 * 3),
        (
            [keras.Input((8, 8, 4)), layers.Conv2D(6, 3, strides=2, groups=2)],
            2 * 3 * 3 * 6 * 3 * 3 * 2,
        ),
        ([keras.Input((5, 5, 5, 1)), layers.Conv3D(2, 3)], 2 * 27 * 2 * 27),
        (
            [keras.Input((8, 8, 4)), layers.DepthwiseConv2D(3, depth_multiplier=2)],
            2 * 6 * 6 * 8 * 9,
        ),
        (
            [keras.Input((4, 4, 3)), layers.Conv2DTranspose(5, 2, strides=2)],
            2 * 16 * 3 * 5 * 4,
        ),
        ([keras.Input((6, 3)), layers.LSTM(5)], 2 * 6 * 20 * (3 + 5)),
        ([keras.Input((6,)), layers.Embedding(9, 4), layers.Flatten()], 0),
        (
            [keras.Input((7, 3)), layers.EinsumDense("abc,cd->abd", (None, 5))],
            2 * 7 * 3 * 5,
        ),
        (
            [
                keras.Input((7, 2, 3)),
                layers.Lambda(
                    lambda x: tf.einsum("na...c,cd->na...d", x, tf.ones((3, 5)))
                ),
            ],
            2 * 7 * 2 * 3 * 5,
        ),
        (
            [
                keras.Input((7, 3)),
                layers.Lambda(lambda x: tf.matmul(x, x[:, :, :2], transpose_a=True)),
            ],
            2 * 3 * 7 * 2,
        ),
    ],
)
def test_counts_two_for_each_use_of_a_number_of_a_kernel(stack, expected):
    assert of(*stack) == expected


def test_counts_attention_with_its_products():
    inputs = keras.Input((6, 8))
    attention = layers.MultiHeadAttention(2, 4)
    model = keras.Model(inputs, attention(inputs, inputs))
    projections = 4 * 2 * 6 * 8 * 8
    products = 2 * (2 * 2 * 6 * 6 * 4)
    assert flops(model) == projections + products


def test_is_what_the_profiler_of_tensorflow_counts():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, use_bias=False),
            layers.DepthwiseConv2D(3, use_bias=False),
            layers.Flatten(),
            layers.Dense(5, use_bias=False),
        ]
    )
    function = tf.function(lambda x: model(x, training=False))
    graph = function.get_concrete_function(tf.TensorSpec((1, 8, 8, 3))).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    profile = tf.compat.v1.profiler.profile(graph, options=options)
    assert flops(model) == profile.total_float_ops


def test_a_model_without_known_shapes_has_none():
    assert of(keras.Input((None, 3)), layers.Dense(2)) is None

    class Own(keras.Model):
        pass

    assert flops(Own()) is None
