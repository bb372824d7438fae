import keras
import numpy as np
import pytest

from keras_ext.compression._quantized_layers import QUANTIZED

ARGUMENTS = {
    "Conv1D": (3, 2),
    "Conv1DTranspose": (3, 2),
    "Conv2DTranspose": (3, 2),
    "DepthwiseConv1D": (2,),
    "Conv2D": (3, 2),
    "Dense": (3,),
    "EinsumDense": ("abc,cd->abd", (None, 3)),
    "Embedding": (4, 3),
    "DepthwiseConv2D": (2,),
}
SEQUENCES = ("Conv1D", "Conv1DTranspose", "DepthwiseConv1D")
SHAPES = {"Dense": (1, 4), "EinsumDense": (1, 5, 4), "Embedding": (1, 5)}
SHAPES |= {**dict.fromkeys(SEQUENCES, (1, 5, 4))}


@pytest.mark.parametrize("plain", QUANTIZED, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bits", [3, 8])
def test_kernels_are_rounded_by_their_largest_entries(plain, bits):
    kind = QUANTIZED[plain]
    shape = SHAPES.get(plain.__name__, (1, 5, 5, 4))
    layer = kind(*ARGUMENTS[plain.__name__], bits=bits)
    layer.build(shape)
    (kernel,) = layer.trainable_variables[:1]
    values = np.array(kernel)
    if "Depthwise" in plain.__name__:
        values = values.reshape(*values.shape[:-2], -1)
    axes = tuple(range(values.ndim - 1)) if kind.per_channel else None
    step = np.abs(values).max(axes) / (2 ** (bits - 1) - 1)
    expected = np.round(values / step) * step
    rounded = layer.embeddings if plain is keras.layers.Embedding else layer.kernel
    actual = np.array(rounded).reshape(expected.shape)
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    again = kind.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("plain", QUANTIZED, ids=lambda kind: kind.__name__)
def test_steps_begin_where_lsq_does_and_are_saved(plain, tmp_path):
    shape = SHAPES.get(plain.__name__, (1, 5, 5, 4))
    kind = QUANTIZED[plain]
    arguments = ARGUMENTS[plain.__name__]
    layer = kind(*arguments, bits=4, learned_steps=True, name="layer")
    model = keras.Sequential([keras.Input(shape[1:]), layer])
    step = np.exp(np.array(layer.step.log_step))
    kernel = np.array(layer.float_kernel())
    if layer.per_channel:
        assert step.shape[0] in (2, 3, 4, 8, 12)
    else:
        expected = 2 * np.abs(kernel).mean() / np.sqrt(7)
        np.testing.assert_allclose(step, expected, rtol=1e-5)
    layer.step.log_step.assign(layer.step.log_step + 0.1)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    x = np.ones(shape, "float32")
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)
    # Not the rounded kernel: a training goes on from what was learned.
    again = loaded.get_layer("layer").float_kernel()
    np.testing.assert_array_equal(np.array(again), kernel)
    rounded = layer.embeddings if plain is keras.layers.Embedding else layer.kernel
    assert len(np.unique(np.array(rounded))) <= 15 * max(1, step.size)


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
def test_a_sequence_is_convolved_as_in_keras(padding):
    kind = QUANTIZED[keras.layers.Conv1D]
    options = {"padding": padding, "dilation_rate": 2, "activation": "relu"}
    if padding != "causal":
        options |= {"dilation_rate": 1, "strides": 2}
    layer, plain = kind(3, 2, **options), keras.layers.Conv1D(3, 2, **options)
    x = np.random.default_rng(0).normal(size=(2, 7, 4)).astype("float32")
    layer.build(x.shape), plain.build(x.shape)
    plain.kernel.assign(np.array(layer.kernel)[0])
    plain.bias.assign([0.1, 0.2, 0.3])
    layer.bias.assign([0.1, 0.2, 0.3])
    np.testing.assert_allclose(layer(x), plain(x), atol=1e-5)
    assert layer.compute_output_shape(x.shape) == plain.compute_output_shape(x.shape)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("plain", "arguments", "options"),
    [
        (keras.layers.DepthwiseConv1D, (3,), {"strides": 2, "depth_multiplier": 2}),
        (keras.layers.DepthwiseConv1D, (3,), {"dilation_rate": 2}),
        (keras.layers.Conv1DTranspose, (3, 2), {"strides": 2}),
        (keras.layers.Conv1DTranspose, (3, 4), {"strides": 2, "output_padding": 1}),
    ],
)
def test_other_sequences_are_convolved_as_in_keras(plain, arguments, options, padding):
    options = {**options, "padding": padding, "activation": "relu"}
    layer, own = QUANTIZED[plain](*arguments, **options), plain(*arguments, **options)
    x = np.random.default_rng(0).normal(size=(2, 7, 4)).astype("float32")
    layer.build(x.shape), own.build(x.shape)
    own.kernel.assign(np.array(layer.kernel)[0])
    own.bias.assign(np.linspace(0.1, 0.3, own.bias.shape[0]))
    layer.bias.assign(own.bias)
    np.testing.assert_allclose(layer(x), own(x), atol=1e-5)
    assert layer.compute_output_shape(x.shape) == own.compute_output_shape(x.shape)
