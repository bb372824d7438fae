import keras
import numpy as np
import pytest

from keras_ext.compression import LiteRTFile, prune, quantize_aware, to_litert
from tests.thorough import LONG, MATRIX, thorough_but

layers = keras.layers
KINDS = {
    "Dense": (6, [layers.Dense(3, activation="gelu")]),
    "Conv1D": ((8, 2), [layers.Conv1D(4, 3, padding="causal")]),
    "Conv2D": ((6, 6, 2), [layers.Conv2D(4, 3, activation="silu")]),
    "Conv2DTranspose": ((4, 4, 2), [layers.Conv2DTranspose(3, 3, strides=2)]),
    "Conv3D": ((4, 4, 4, 1), [layers.Conv3D(2, 2)]),
    "SeparableConv2D": ((6, 6, 3), [layers.SeparableConv2D(4, 3)]),
    "LayerNormalization": (6, [layers.LayerNormalization()]),
    "GroupNormalization": ((4, 4, 4), [layers.GroupNormalization(2)]),
    "Embedding": (5, [layers.Embedding(9, 4), layers.GlobalAveragePooling1D()]),
    "UpSampling2D": ((3, 3, 2), [layers.UpSampling2D(interpolation="bilinear")]),
    "LSTM": ((5, 3), [layers.LSTM(4)]),
    "PReLU": (6, [layers.PReLU(alpha_initializer="ones")]),
    "Rescaling": (6, [layers.Rescaling(0.1, 1.0), layers.Softmax()]),
}


@pytest.mark.parametrize("kind", thorough_but(["Conv2D"], KINDS))
@pytest.mark.thorough(LONG)
def test_a_file_in_floats_is_the_model(kind, tmp_path):
    shape, stack = KINDS[kind]
    # Of a batch of one: some layers are unrolled or padded for a known size.
    shape = shape if isinstance(shape, tuple) else (shape,)
    dtype = "int32" if kind == "Embedding" else "float32"
    model = keras.Sequential([keras.Input(shape, dtype=dtype), *stack])
    report = to_litert(model, tmp_path / "m.tflite")
    assert report.max_difference < 1e-5
    assert report.num_bytes == (tmp_path / "m.tflite").stat().st_size


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 8)).astype("float32")
    y = np.argmax(x @ rng.normal(size=(8, 3)), 1)
    dense = layers.Dense(64, activation="relu")
    model = keras.Sequential(
        [keras.Input((8,)), dense, layers.Dense(64, "relu"), layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(x, y, epochs=10, batch_size=64, verbose=0)
    return model, x


@pytest.mark.parametrize(
    "mode", thorough_but(["int8"], ["float16", "dynamic", "int8", "int16x8"])
)
@pytest.mark.thorough(LONG)
def test_files_of_fewer_bits_are_smaller_and_about_the_model(mode, trained, tmp_path):
    model, x = trained
    path = tmp_path / "m.tflite"
    report = to_litert(model, path, mode=mode, representative_data=x)
    sizes = {"float16": 0.6, "dynamic": 0.45, "int8": 0.45, "int16x8": 0.5}
    floats = 4 * model.count_params()
    assert report.num_bytes < sizes[mode] * floats + 3000  # that a file takes anyway
    assert report.agreement > 0.95
    assert (report.num_int8_tensors > 0) == (mode != "float16")
    predicted = LiteRTFile(path).predict(x).argmax(-1)
    same = predicted == keras.ops.convert_to_numpy(model(x)).argmax(-1)
    assert same.mean() > 0.97


@pytest.mark.thorough(MATRIX)
def test_zeros_make_the_packed_file_small(tmp_path):
    model = keras.Sequential([keras.Input((64,)), layers.Dense(64)])
    dense = to_litert(model, tmp_path / "dense.tflite")
    prune(model, 0.9)
    sparse = to_litert(model, tmp_path / "sparse.tflite")
    assert sparse.num_bytes == dense.num_bytes
    assert sparse.num_gzip_bytes < 0.35 * dense.num_gzip_bytes


@pytest.mark.thorough(LONG)
@pytest.mark.parametrize(
    "layer",
    [
        layers.LSTM(4, name="a"),
        layers.Bidirectional(layers.GRU(4, return_sequences=True, name="a")),
        layers.SimpleRNN(4, name="a"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_recurrent_layers_are_unrolled_in_the_file_alone(layer, tmp_path):
    model = keras.Sequential([keras.Input((5, 3)), layer])
    x = np.random.default_rng(0).normal(size=(64, 5, 3)).astype("float32")
    report = to_litert(model, tmp_path / "m.tflite", representative_data=x)
    assert report.max_difference < 1e-5
    report = to_litert(model, tmp_path / "m.tflite", mode="int8", representative_data=x)
    assert report.max_difference < 0.1
    assert not getattr(layer, "forward_layer", layer).unroll


def test_sequences_of_any_length_are_refused_before_the_converter(tmp_path):
    model = keras.Sequential([keras.Input((None, 3)), layers.LSTM(2)])
    with pytest.raises(ValueError, match=r"sequences have a fixed length, for \['lstm"):
        to_litert(model, tmp_path / "m.tflite", mode="int8")
    assert not list(tmp_path.iterdir())


def test_what_keras_has_quantized_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense")])
    model.layers[-1].quantize("int8")
    with pytest.raises(ValueError, match=r"without layers of model\.quantize"):
        to_litert(model, tmp_path / "m.tflite")


@pytest.mark.parametrize(
    ("path", "kwargs", "message"),
    [
        ("m.tflite", {"mode": "int8"}, r"`representative_data` must be given for mode"),
        ("m.keras", {}, r"`path` must be a path that ends with \.tflite"),
        ("m.tflite", {"mode": "int2"}, r'`mode` must be "float32", "float16"'),
        (
            "m.tflite",
            {"representative_data": np.ones(3)},
            r"`representative_data` must be 1 arrays with rows, of the shapes",
        ),
    ],
)
def test_rejects_bad_arguments(path, kwargs, message, tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    with pytest.raises(ValueError, match=message):
        to_litert(model, tmp_path / path, **kwargs)


def test_a_model_that_declares_no_inputs_is_refused(tmp_path):
    class Own(keras.Model):
        def call(self, x):
            return x

    model = Own()
    model(np.ones((1, 2)))
    with pytest.raises(ValueError, match="`model` must be .* a known input shape"):
        to_litert(model, tmp_path / "m.tflite")


@pytest.mark.thorough(LONG)
@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float64"])
@pytest.mark.parametrize("mode", ["float32", "int8"])
def test_other_policies_compute_in_float32_in_the_file(policy, mode, tmp_path):
    keras.utils.set_random_seed(0)
    own = {"dtype": policy}
    stack = [layers.Conv2D(4, 3, **own), layers.BatchNormalization(**own)]
    stack += [layers.ReLU(**own), layers.Flatten(**own), layers.Dense(3, **own)]
    model = keras.Sequential([keras.Input((6, 6, 2)), *stack])
    x = np.random.default_rng(0).normal(size=(64, 6, 6, 2)).astype("float32")
    data = x if mode == "int8" else None
    path = tmp_path / "m.tflite"
    report = to_litert(model, path, mode=mode, representative_data=data)
    rounding = {"mixed_float16": 5e-3, "bfloat16": 0.05, "float64": 1e-5}[policy]
    rounding += 0.1 if mode == "int8" else 0.0
    assert report.max_difference < rounding
    assert model(x[:1]).dtype.name == model.layers[-1].compute_dtype != "float32"


def test_a_mixed_policy_computes_in_float32_in_the_file(tmp_path):
    keras.utils.set_random_seed(0)
    dense = layers.Dense(3, dtype="mixed_float16")
    model = keras.Sequential([keras.Input((4,)), dense])
    path = tmp_path / "m.tflite"
    assert to_litert(model, path).max_difference < 5e-3
    x = np.random.default_rng(0).normal(size=(9, 4)).astype("float32")
    expected = x @ keras.ops.convert_to_numpy(dense.kernel)
    np.testing.assert_allclose(LiteRTFile(path).predict(x), expected, rtol=1e-5)
    assert dense.compute_dtype == "float16"


def test_names_and_nested_outputs_that_a_file_cannot_have_are_refused(tmp_path):
    inputs = keras.Input((4,), name="my input")
    output = layers.ReLU()(inputs)
    with pytest.raises(ValueError, match=r"names of letters, digits and _, not \['my"):
        to_litert(keras.Model(inputs, output), tmp_path / "m.tflite")
    inputs = keras.Input((4,), name="mine")
    nested = keras.Model(inputs, [inputs, {"x": layers.ReLU()(inputs)}])
    with pytest.raises(ValueError, match="a list of them or a dictionary, not nested"):
        to_litert(nested, tmp_path / "m.tflite")


def test_rows_of_tokens_are_not_all_masked(tmp_path):
    """The mean of a row without a token is NaN in Keras, too."""
    for words, zeros in ((9, True), (1, False)):
        stack = [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(words, 4, mask_zero=zeros),
            keras.layers.GlobalAveragePooling1D(),
        ]
        report = to_litert(keras.Sequential(stack), tmp_path / "tokens.tflite")
        assert report.max_difference < 1e-6
        assert report.agreement == 1.0


def test_what_is_not_a_number_in_both_is_the_same(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.layers[0].bias.assign([np.nan, 1.0])
    report = to_litert(model, tmp_path / "nan.tflite")
    assert report.max_difference < 1e-6


def test_ranges_that_have_seen_nothing_are_refused(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="dense")])
    aware = quantize_aware(model)
    message = r"has seen rows in training, for the ranges \['input_0_range', 'dense_ra"
    with pytest.raises(ValueError, match=message):
        to_litert(aware, tmp_path / "m.tflite", mode="int8")


def test_operations_that_files_do_not_have_are_named(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 4, 2)), layers.MaxPooling3D(2)])
    message = "one of operations that LiteRT has, and not of MaxPool3D. Received: model"
    with pytest.raises(ValueError, match=message):
        to_litert(model, tmp_path / "m.tflite")
