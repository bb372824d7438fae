import keras
import numpy as np
import pytest
from keras import ops

from keras_ext.compression import (
    KeepZeros,
    LiteRTFile,
    prune,
    quantize_aware,
    strip_quantization,
    to_litert,
)
from keras_ext.compression._quantized_normalization import QuantizedNormalization
from tests.thorough import LONG, MATRIX, TRAININGS, thorough_but

layers = keras.layers


def make_model():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", name="conv")(x)
    x = layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="deep")(x)
    x = layers.BatchNormalization(momentum=0.9, name="norm_2")(x)
    x = layers.ReLU(name="relu_2")(x)
    short = x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Conv2D(8, 3, padding="same", name="conv_2")(x)
    x = layers.BatchNormalization(momentum=0.9, name="norm_3")(x)
    x = layers.ReLU(name="relu_3")(layers.Add(name="add")([x, short]))
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dense(16, activation="relu", name="dense")(x)
    return keras.Model(inputs, layers.Dense(4, "softmax", name="head")(x))


@pytest.fixture(scope="module")
def data():
    """Bright squares in one of four corners."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 512)
    x = rng.uniform(0, 0.6, (512, 8, 8, 1)).astype("float32")
    for image, corner in zip(x, y, strict=True):
        i, j = rng.integers(0, 2, 2) + 4 * np.array(divmod(corner, 2))
        image[i : i + 3, j : j + 3] += 0.4
    # A position is told by the border alone, so let each corner have its brightness.
    return x * (1 + 0.25 * y[:, None, None, None]).astype("float32"), y


@pytest.fixture(scope="module")
def aware(data):
    """A model and its copy that has seen a batch."""
    model = make_model()
    copy = quantize_aware(model)
    copy(data[0], training=True)
    return model, copy


def test_rounding_stands_where_litert_rounds(aware):
    ranges = [x.name for x in aware[1].layers if x.name.endswith("_range")]
    assert ranges == [
        "input_0_range",
        "relu_range",
        "relu_2_range",
        "norm_3_range",
        "relu_3_range",
        "mean_range",
        "dense_range",
        "head_range",
    ]


def test_int8_without_data_is_the_copy(data, tmp_path):
    stack = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()]
    stack += [layers.GlobalAveragePooling2D(), layers.Dense(4, activation="softmax")]
    model = quantize_aware(keras.Sequential([keras.Input((8, 8, 1)), *stack]))
    model(data[0], training=True)
    path = tmp_path / "m.tflite"
    report = to_litert(model, path, mode="int8")
    actual = LiteRTFile(path).predict(data[0][:64])
    assert np.abs(actual - model(data[0][:64])).max() < 0.02
    # Nothing is left in floats: five activations, and two kernels.
    assert report.num_int8_tensors >= 7


@pytest.mark.thorough(TRAININGS)
def test_a_trained_model_and_its_file_agree_and_keep_zeros(data, tmp_path):
    model = make_model()
    prune(model, 0.5)
    copy = quantize_aware(model)
    copy.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    copy.fit(*data, batch_size=64, epochs=10, callbacks=[KeepZeros()], verbose=0)
    report = to_litert(copy, tmp_path / "m.tflite", mode="int8")
    actual = LiteRTFile(tmp_path / "m.tflite").predict(data[0]).argmax(-1)
    expected = np.array(copy(data[0])).argmax(-1)
    assert np.mean(expected == data[1]) > 0.9
    assert np.mean(actual == expected) >= 0.995
    # Nothing is left in floats: eight activations, and five kernels.
    assert report.num_int8_tensors >= 13
    for name in ("conv", "conv_2", "dense", "head"):
        kernel = copy.get_layer(name).kernel
        assert np.mean(np.array(kernel) == 0) >= 0.5


def test_a_saved_model_is_the_same(aware, data, tmp_path):
    aware[1].save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(data[0][:9]), aware[1](data[0][:9]))


def test_the_trained_weights_come_back(aware):
    _, copy = aware
    plain = strip_quantization(copy, make_model())
    for layer in (x for x in plain.layers if x.weights):
        weights = copy.get_layer(layer.name).get_weights()
        for actual, expected in zip(layer.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_a_sequential_model_with_other_activations():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, activation="tanh", name="a"),
            layers.Dense(8, activation="silu", name="b"),
            layers.Dense(3, name="c"),
        ]
    )
    copy = quantize_aware(model)
    assert [x.name for x in copy.layers][2:] == [
        "a",
        "a_range",
        "a_activation",
        "b",
        "b_range",
        "b_activation",
        "b_activation_range",
        "c",
        "c_range",
    ]
    x = np.random.default_rng(0).normal(size=(256, 4)).astype("float32")
    rounded = np.array(copy(x, training=True))
    assert 0 < np.abs(rounded - model(x)).max() < 0.05 * np.ptp(rounded)


def stack(*items, shape=(8, 8, 4), **kwargs):
    return keras.Sequential([keras.Input(shape), *items], **kwargs)


def sequence(*items):
    return stack(*items, shape=(8, 4))


def normed(*items):
    return stack(*items, layers.BatchNormalization(), layers.ReLU())


def two_ways(merge):
    """A model of two convolutions of the same images, one of which is above zero."""
    inputs = keras.Input((8, 8, 4))
    a = layers.Conv2D(4, 3, padding="same")(inputs)
    b = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    return keras.Model(inputs, merge(a, b))


def siamese():
    inputs = keras.Input((8, 4))
    shared = layers.Dense(4, activation="silu", name="shared")
    norm = layers.BatchNormalization()
    other = layers.Multiply()([inputs, inputs])
    both = [norm(shared(inputs)), norm(shared(other))]
    return keras.Model(inputs, layers.Subtract()(both))


def tokens(*items):
    inputs = keras.Input((8,), dtype="int32")
    return keras.Sequential([inputs, layers.Embedding(9, 6), *items])


def positions():
    inputs = keras.Input((8,), dtype="int32")
    x = layers.Embedding(9, 6)(inputs) + layers.Embedding(8, 6)(ops.arange(8)[None])
    return keras.Model(inputs, layers.Dense(3)(x))


def nested():
    inner = normed(layers.Conv2D(4, 3, name="conv"))
    outer = stack(inner, layers.Conv2D(3, 3, name="conv"))
    inputs = keras.Input((8, 8, 4))
    x = outer(inputs, training=False)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def products(equation, shape, **kwargs):
    return layers.EinsumDense(equation, shape, bias_initializer="normal", **kwargs)


# Each gives in 8 bits what its copy gives, but for roundings that fall elsewhere.
EXACT = {
    "average of a sequence": lambda: sequence(layers.AveragePooling1D(2)),
    "average of images": lambda: stack(layers.AveragePooling2D(2)),
    "bilinear": lambda: stack(layers.UpSampling2D(2, interpolation="bilinear")),
    "nearest": lambda: sequence(layers.UpSampling1D(2)),
    "resizing": lambda: stack(layers.Resizing(5, 5)),
    "crop": lambda: stack(layers.CenterCrop(4, 4)),
    "noise": lambda: stack(layers.GaussianNoise(0.1), layers.AlphaDropout(0.1)),
    "augmented": lambda: stack(layers.RandomFlip(), layers.Conv2D(3, 3)),
    "repeated": lambda: sequence(layers.Flatten(), layers.RepeatVector(2)),
    "normalization alone": lambda: sequence(layers.BatchNormalization()),
    "normalization of images": lambda: normed(layers.MaxPooling2D()),
    "of a dense layer": lambda: normed(layers.Flatten(), layers.Dense(8)),
    "of channels": lambda: normed(layers.Dense(8)),
    "of an activation": lambda: normed(layers.Conv2D(4, 3, activation="relu")),
    "of a dilated one": lambda: normed(layers.Conv2D(4, 3, dilation_rate=2)),
    "of a transposed one": lambda: normed(layers.Conv2DTranspose(4, 3, strides=2)),
    "of a separable one": lambda: normed(layers.SeparableConv2D(4, 3)),
    "dilated": lambda: sequence(
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu")
    ),
    "depthwise": lambda: sequence(
        layers.DepthwiseConv1D(3, strides=2, depth_multiplier=2, activation="relu")
    ),
    "separable": lambda: stack(
        layers.SeparableConv2D(4, 3, strides=2, padding="same", depth_multiplier=2)
    ),
    "separable sequence": lambda: sequence(
        layers.SeparableConv1D(4, 3, activation="silu")
    ),
    "transposed": lambda: sequence(
        layers.Conv1DTranspose(3, 3, strides=2, padding="same", activation="relu")
    ),
    "transposed images": lambda: stack(layers.Conv2DTranspose(3, 3, strides=2)),
    "leaky": lambda: stack(layers.Conv2D(4, 3), layers.ReLU(negative_slope=0.2)),
    "log_softmax": lambda: sequence(layers.Activation("log_softmax")),
    "scaled": lambda: sequence(layers.Rescaling(2.0, -1.0)),
    "three added": lambda: two_ways(lambda a, b: layers.Add()([a, b, a])),
    "three multiplied": lambda: two_ways(lambda a, b: layers.Multiply()([a, b, a])),
    "averaged": lambda: two_ways(lambda a, b: layers.Average()([a, b, a])),
    "joined": lambda: two_ways(lambda a, b: layers.Concatenate()([a, b])),
    "the larger": lambda: two_ways(lambda a, b: layers.Maximum()([a, b])),
    "shared": siamese,
    "an operator": lambda: two_ways(lambda a, b: layers.ReLU()(a + b)),
    "functions": lambda: two_ways(
        lambda a, b: ops.softmax(ops.mean(ops.relu(a - b) * ops.tanh(b), axis=1))
    ),
    "a part": lambda: two_ways(lambda a, b: layers.Conv2D(3, 3)(a[:, 1:])),
    "difference above zero": lambda: two_ways(
        lambda a, b: layers.ReLU()(layers.Subtract()([a, b]))
    ),
    "models inside": nested,
    "tokens": lambda: tokens(layers.GlobalAveragePooling1D(), layers.Dense(3)),
    "tokens alone": tokens,
    "tokens above zero": lambda: tokens(layers.ReLU()),
    "normalized tokens": lambda: tokens(layers.BatchNormalization(), layers.ReLU()),
    "positions": positions,
    "products": lambda: sequence(
        products("abc,cd->abd", (None, 5), bias_axes="d"), layers.ReLU()
    ),
    "products normed": lambda: normed(
        products("abcd,de->abce", (None, None, 5), bias_axes="e")
    ),
    "products of others": lambda: sequence(
        products("abc,bd->adc", (5, 4), activation="relu")
    ),
    "dropout before a ReLU": lambda: normed(
        layers.Conv2D(4, 3), layers.Dropout(0.1), layers.ReLU()
    ),
}
# The same, in parts that LiteRT computes in floats.
IN_FLOATS = {
    "groups": lambda: sequence(layers.GroupNormalization(2)),
    "rms": lambda: sequence(layers.RMSNormalization()),
    "layers": lambda: sequence(
        layers.Dense(8, "relu"), layers.LayerNormalization(), layers.Dense(3)
    ),
    "layers of images": lambda: stack(layers.LayerNormalization(axis=[1, 2, 3])),
    "heads": lambda: sequence(
        products("abc,cde->abde", (None, 2, 3), bias_axes="de", activation="relu")
    ),
    "unit": lambda: sequence(layers.UnitNormalization()),
    "adapted": lambda: sequence(layers.Normalization(mean=1.0, variance=2.0)),
    "elu": lambda: sequence(layers.ELU()),
    "up to 3": lambda: stack(layers.Conv2D(4, 3), layers.ReLU(3.0)),
}


@pytest.mark.parametrize(
    "kind", thorough_but(["average of a sequence"], [*EXACT, *IN_FLOATS])
)
def test_a_file_of_8_bits_gives_what_the_copy_gives(kind, tmp_path):
    keras.utils.set_random_seed(0)
    model = (EXACT | IN_FLOATS)[kind]()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, *model.input_shape[1:])).astype("float32")
    if model.inputs[0].dtype == "int32":
        x = rng.integers(0, 9, x.shape).astype("int32")
    copy = quantize_aware(model)
    copy(x, training=True)
    to_litert(copy, tmp_path / "m.tflite", mode="int8")
    file = LiteRTFile(tmp_path / "m.tflite")
    expected = np.array(copy(x, training=False))
    found = file.predict(x)
    # In steps between two levels. What is rounded in the file alone is half a step
    # away, and roundings that fall elsewhere are a step or two.
    steps = np.abs(found - expected) / np.diff(np.unique(found)).min()
    assert steps.max() < 3.5
    assert np.mean(steps > 0.6) < 0.35
    assert (file.num_float_tensors > 0) == (kind in IN_FLOATS)
    # The copy is about the model, too. Kinds with statistics had one batch of them.
    kinds = [type(layer) for layer in copy.layers]
    if not {layers.BatchNormalization, QuantizedNormalization} & set(kinds):
        plain = np.array(model(x, training=False))
        assert np.abs(expected - plain).max() < 0.05 * np.ptp(plain)


@pytest.mark.thorough(MATRIX)
@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "float64"])
def test_other_policies_are_rounded_too(policy, tmp_path):
    keras.utils.set_random_seed(0)
    own = {"dtype": policy}
    model = stack(
        layers.SeparableConv2D(4, 3, activation="relu", **own),
        layers.BatchNormalization(**own),
        layers.GlobalAveragePooling2D(**own),
        layers.Dense(3, activation="softmax", **own),
    )
    x = np.random.default_rng(0).normal(size=(64, 8, 8, 4)).astype("float32")
    copy = quantize_aware(model)
    copy(x, training=True)
    report = to_litert(copy, tmp_path / "m.tflite", mode="int8")
    assert report.max_difference < 0.02
    assert copy(x).dtype == model(x).dtype == model.layers[-1].compute_dtype


@pytest.mark.thorough(LONG)
def test_separable_layers_and_normalizations_train_save_and_come_back(tmp_path):
    keras.utils.set_random_seed(0)
    model = sequence(
        layers.SeparableConv1D(4, 3, activation="relu", name="separable"),
        layers.BatchNormalization(name="norm"),
        layers.GlobalAveragePooling1D(),
        layers.Dense(2, name="dense"),
    )
    copy = quantize_aware(model, learned_steps=True)
    copy.compile(keras.optimizers.Adam(1e-2), "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(64, 8, 4)).astype("float32")
    before = [np.array(v) for v in copy.trainable_variables]
    history = copy.fit(x, x[:, 0, :2], epochs=4, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for variable, old in zip(copy.trainable_variables, before, strict=True):
        assert np.any(np.array(variable) != old), variable.path
    copy.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(x[:9]), copy(x[:9]))
    plain = strip_quantization(copy, model)
    for name in ("separable", "norm", "dense"):
        own = plain.get_layer(name).get_weights()
        for found, expected in zip(own, copy.get_layer(name).weights, strict=False):
            np.testing.assert_array_equal(found, expected)


def test_models_inside_train_and_their_weights_come_back():
    keras.utils.set_random_seed(0)
    base = stack(layers.Conv2D(4, 3, name="conv"), layers.ReLU(), name="base")
    base.trainable = False
    pool = layers.GlobalAveragePooling2D()
    model = stack(base, pool, layers.Dense(2, name="conv"))
    copy = quantize_aware(model)
    copy.compile("sgd", "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(32, 8, 8, 4)).astype("float32")
    frozen = base.get_layer("conv").get_weights()[0]
    copy.fit(x, x[:, 0, 0, :2], verbose=0)
    np.testing.assert_array_equal(copy.get_layer("base_conv").float_kernel(), frozen)
    learned = copy.get_layer("conv").get_weights()
    assert np.any(learned[0] != model.get_layer("conv").get_weights()[0])
    strip_quantization(copy, model)
    for found, expected in zip(
        model.get_layer("conv").get_weights(), learned, strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_what_is_not_known_is_refused():
    inner = keras.Sequential([keras.Input((4, 4)), layers.LSTM(4)], name="inner")
    model = keras.Sequential([keras.Input((4, 4)), inner, layers.Dense(2)])
    with pytest.raises(ValueError, match=r"not known here, \['lstm.*: LSTM'\]"):
        quantize_aware(model)
    masked = layers.Embedding(4, 2, mask_zero=True, name="words")
    model = keras.Sequential([keras.Input((4,), dtype="int32"), masked])
    with pytest.raises(ValueError, match=r"mask_zero=True in \['words'\]"):
        quantize_aware(model)


def test_functions_that_are_not_known_are_refused():
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match=r"not known here, \['sin.*: Sin'\]"):
        quantize_aware(keras.Model(inputs, ops.sin(inputs)))


def test_sequences_with_their_channels_first_are_refused():
    first = layers.Conv1D(2, 3, data_format="channels_first", name="first")
    with pytest.raises(ValueError, match=r"channels last in \['first: Conv1D'\]"):
        quantize_aware(sequence(first))


def test_models_with_other_layers_are_not_mixed_up(aware):
    other = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="other")])
    with pytest.raises(ValueError, match=r"must be a model with the layers \['other"):
        strip_quantization(aware[1], other)


@pytest.mark.thorough(LONG)
@pytest.mark.parametrize("learned", [False, True], ids=["following", "learned"])
def test_sequences_and_learned_steps_are_whole_numbers_in_a_file(learned, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((12, 3)),
            layers.Conv1D(4, 3, padding="causal", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.AveragePooling1D(2),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    x = np.random.default_rng(0).normal(size=(128, 12, 3)).astype("float32")
    y = x[:, 0]
    copy = quantize_aware(model, learned_steps=learned)
    copy.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=False)
    before = [np.array(v) for v in copy.trainable_variables]
    history = copy.fit(x, y, epochs=4, verbose=0).history["loss"]
    assert history[-1] < history[0]
    names = [v.path.rpartition("/")[2] for v in copy.trainable_variables]
    assert ("log_step" in names) == ("low" in names) == learned
    for name, variable, old in zip(
        names, copy.trainable_variables, before, strict=True
    ):
        assert np.any(np.array(variable) != old), name
    report = to_litert(copy, tmp_path / "m.tflite", mode="int8")
    assert report.max_difference < 0.03 * np.ptp(np.array(copy(x)))
    file = LiteRTFile(tmp_path / "m.tflite")
    assert not file.num_float_tensors
