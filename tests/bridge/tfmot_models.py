"""The kinds of models that the bridge to tf_keras is tried with."""

import keras
import numpy as np

L, ops = keras.layers, keras.ops
RNG = np.random.default_rng(0)


def image(*stack, shape=(8, 8, 3)):
    return keras.Sequential([keras.Input(shape), *stack])


def rows(*stack, size=6):
    return image(*stack, shape=(size,))


def sequence(*stack):
    return image(*stack, shape=(5, 4))


def activation(name):
    return rows(L.Dense(5, activation=name), L.Dense(2))


def square(x):
    return x * x


def residual():
    x = inputs = keras.Input((8, 8, 3))
    x = short = L.Conv2D(4, 3, padding="same", use_bias=False)(x)
    x = L.ReLU()(L.BatchNormalization()(x))
    x = L.Add()([x, short])
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, L.Dense(3, "softmax")(x))


def merges():
    a = inputs = keras.Input((6,))
    b = L.Dense(6)(a)
    parts = [
        kind()([a, b])
        for kind in (L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum)
    ]
    return keras.Model(inputs, L.Concatenate()([*parts, L.Dot(1)([a, b])]))


def operations():
    inputs = keras.Input((6, 4))
    x = ops.sqrt(ops.abs(inputs)) + 1.0
    x = x[:, 1:4] * ops.mean(x, axis=1, keepdims=True)
    return keras.Model(inputs, ops.concatenate([x, x[:, :1]], axis=1))


def attention():
    inputs = keras.Input((5, 4))
    x = L.MultiHeadAttention(2, 3, value_dim=2)(inputs, inputs, use_causal_mask=True)
    return keras.Model(inputs, L.Attention()([x, inputs]))


def states():
    inputs = keras.Input((5, 4))
    outputs, hidden, cell = L.LSTM(3, return_sequences=True, return_state=True)(inputs)
    return keras.Model(inputs, L.LSTM(3)(outputs, initial_state=[hidden, cell]))


def shared():
    a, b = keras.Input((4,)), keras.Input((4,))
    dense = L.Dense(3)
    return keras.Model([a, b], [dense(a), dense(b), L.Add()([dense(a), dense(b)])])


def nested():
    inner = image(L.Conv2D(4, 3), L.BatchNormalization())
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(inner(inputs))))


def dictionary():
    inputs = {"p": keras.Input((3,), name="p"), "q": keras.Input((2,), name="q")}
    x = L.Concatenate()([inputs["p"], inputs["q"]])
    return keras.Model(inputs, {"u": L.Dense(2)(x), "v": L.Dense(1)(x)})


def tokens(*stack):
    inputs = keras.Input((5,), dtype="int32")
    return keras.Sequential([inputs, *stack])


def normalization():
    layer = L.Normalization()
    layer.adapt(RNG.normal(2.0, 3.0, (40, 6)))
    return rows(layer, L.Dense(2))


def frozen():
    model = image(L.Conv2D(4, 3), L.BatchNormalization(), L.Flatten(), L.Dense(2))
    model.layers[1].trainable = False
    return model


def regularized():
    options = {"kernel_regularizer": "l2", "kernel_constraint": "non_neg"}
    return rows(L.Dense(4, bias_regularizer="l1", **options))


def mixed(policy):
    kinds = (L.Conv2D(4, 3, dtype=policy), L.BatchNormalization(dtype=policy))
    return image(*kinds, L.Flatten(dtype=policy), L.Dense(3, dtype=policy))


NAMES = "relu silu gelu elu selu tanh softplus softmax log_softmax leaky_relu "
NAMES += "hard_sigmoid hard_silu mish relu6 celu sigmoid exponential softsign"
MODELS = {
    **{f"activation {n}": lambda n=n: activation(n) for n in NAMES.split()},
    "activation of one's own": lambda: activation(square),
    "Conv1D causal": lambda: sequence(L.Conv1D(3, 2, padding="causal")),
    "Conv1D dilated": lambda: sequence(L.Conv1D(3, 2, dilation_rate=2)),
    "Conv2D groups": lambda: image(L.Conv2D(6, 3, groups=3)),
    "Conv3D": lambda: image(L.Conv3D(2, 2), shape=(4, 4, 4, 2)),
    "DepthwiseConv1D": lambda: sequence(L.DepthwiseConv1D(2)),
    "DepthwiseConv2D": lambda: image(L.DepthwiseConv2D(3, depth_multiplier=2)),
    "SeparableConv1D": lambda: sequence(L.SeparableConv1D(3, 2)),
    "SeparableConv2D": lambda: image(L.SeparableConv2D(4, 3)),
    "Conv1DTranspose": lambda: sequence(L.Conv1DTranspose(3, 2)),
    "Conv2DTranspose": lambda: image(L.Conv2DTranspose(4, 3, strides=2)),
    "BatchNormalization plain": lambda: rows(L.BatchNormalization(scale=False)),
    "LayerNormalization": lambda: rows(L.LayerNormalization()),
    "GroupNormalization": lambda: image(L.GroupNormalization(1)),
    "UnitNormalization": lambda: rows(L.UnitNormalization()),
    "Normalization": normalization,
    "Dropout": lambda: rows(L.Dropout(0.5), L.Dense(2)),
    "SpatialDropout2D": lambda: image(L.SpatialDropout2D(0.5)),
    "GaussianNoise": lambda: rows(L.GaussianNoise(0.5), L.GaussianDropout(0.5)),
    "pooling": lambda: image(L.MaxPooling2D(2), L.AveragePooling2D(2)),
    "pooling 1D": lambda: sequence(L.MaxPooling1D(2), L.GlobalMaxPooling1D()),
    "pooling kept": lambda: image(L.GlobalAveragePooling2D(keepdims=True)),
    "ReLU": lambda: rows(L.ReLU(max_value=1.0, negative_slope=0.1)),
    "LeakyReLU": lambda: rows(L.LeakyReLU(negative_slope=0.2)),
    "PReLU": lambda: rows(L.PReLU(alpha_initializer="ones")),
    "ELU": lambda: rows(L.ELU(0.5)),
    "Softmax": lambda: rows(L.Softmax()),
    "shapes": lambda: image(L.ZeroPadding2D(1), L.Cropping2D(2), L.Flatten()),
    "Reshape": lambda: image(L.Reshape((4, 16, 3)), L.Permute((2, 1, 3))),
    "RepeatVector": lambda: rows(L.RepeatVector(3)),
    "UpSampling2D": lambda: image(L.UpSampling2D(2, interpolation="bilinear")),
    "Resizing": lambda: image(L.Resizing(5, 6)),
    "Rescaling": lambda: image(L.Rescaling(0.1, 0.5)),
    "LSTM": lambda: sequence(L.LSTM(3, return_sequences=True), L.LSTM(2)),
    "LSTM with states": states,
    "GRU": lambda: sequence(L.GRU(3)),
    "GRU before": lambda: sequence(L.GRU(3, reset_after=False)),
    "SimpleRNN": lambda: sequence(L.SimpleRNN(3, go_backwards=True)),
    "Bidirectional": lambda: sequence(L.Bidirectional(L.LSTM(3), merge_mode="sum")),
    "Bidirectional GRU": lambda: sequence(L.Bidirectional(L.GRU(3))),
    "TimeDistributed": lambda: sequence(L.TimeDistributed(L.Dense(3))),
    "ConvLSTM2D": lambda: image(L.ConvLSTM2D(2, 2), shape=(3, 4, 4, 2)),
    "Embedding": lambda: tokens(L.Embedding(9, 3), L.Flatten()),
    "Embedding masked": lambda: tokens(L.Embedding(9, 3, mask_zero=True), L.LSTM(2)),
    "Masking": lambda: sequence(L.Masking(), L.LSTM(2)),
    "EinsumDense": lambda: sequence(L.EinsumDense("abc,cd->abd", (None, 3))),
    "attention": attention,
    "AdditiveAttention": lambda: keras.Model(
        i := keras.Input((5, 4)), L.AdditiveAttention()([i, i])
    ),
    "Lambda": lambda: rows(L.Lambda(lambda x: x * 2.0)),
    "Identity": lambda: rows(L.Identity()),
    "ActivityRegularization": lambda: rows(L.ActivityRegularization(0.1)),
    "operations": operations,
    "merges": merges,
    "residual": residual,
    "nested": nested,
    "shared": shared,
    "dictionary": dictionary,
    "frozen": frozen,
    "mixed_float16": lambda: mixed("mixed_float16"),
    "mixed_bfloat16": lambda: mixed("mixed_bfloat16"),
    "regularized": regularized,
    "MobileNetV2": lambda: keras.applications.MobileNetV2(
        (32, 32, 3), alpha=0.35, weights=None, classes=3
    ),
}


def inputs_for(model):
    """Rows for all inputs, as the model takes them."""
    rng = np.random.default_rng(1)

    def drawn(tensor):
        if "int" in tensor.dtype:
            return rng.integers(0, 9, (4, *tensor.shape[1:])).astype("int32")
        return rng.normal(size=(4, *tensor.shape[1:])).astype("float32")

    is_graph = not isinstance(model, keras.Sequential)
    if is_graph and isinstance(model.input, dict):
        return {key: drawn(tensor) for key, tensor in model.input.items()}
    drawns = [drawn(tensor) for tensor in model.inputs]
    return drawns if len(drawns) > 1 else drawns[0]
