"""Kinds of layers and operations."""

from keras import layers

WEIGHTED_LAYERS = (
    layers.Dense,
    layers.EinsumDense,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
SUMMING_LAYERS = (
    layers.Add,
    layers.Average,
    layers.Subtract,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.UpSampling3D,
)
# Linear in inference mode, in which dropout and noise do nothing.
LINEAR_LAYERS = (
    *WEIGHTED_LAYERS,
    *SUMMING_LAYERS,
    layers.BatchNormalization,
    layers.Concatenate,
    layers.Flatten,
    layers.Reshape,
    layers.Permute,
    layers.RepeatVector,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.Rescaling,
    layers.Normalization,
    layers.Identity,
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.AlphaDropout,
    layers.ActivityRegularization,
)
MAX_LAYERS = (
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
)
ELEMENTWISE_LAYERS = (layers.ReLU, layers.LeakyReLU, layers.ELU, layers.PReLU)
# Functions of single elements, by their names in `keras.activations`.
ELEMENTWISE = (
    *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu"),
    *("hard_tanh", "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6"),
    *("selu", "sigmoid", "silu", "soft_shrink", "softplus", "softsign", "sparse_plus"),
    *("squareplus", "tanh", "tanh_shrink", "threshold"),
)
# Operations between layers, such as `x + y`, by the names of their classes.
LINEAR_OPERATIONS = (
    *("Add", "Subtract", "Negative", "Concatenate", "Stack", "Reshape", "Flatten"),
    *("ExpandDims", "Squeeze", "Transpose", "Sum", "Mean", "GetItem", "Cast", "Ravel"),
    *("MoveAxis", "Swapaxes", "Pad", "Repeat", "Tile", "BroadcastTo", "Identity"),
)
ELEMENTWISE_OPERATIONS = (
    *("Abs", "Absolute", "Celu", "Elu", "Exp", "Gelu", "HardSigmoid", "HardSilu"),
    *("LeakyRelu", "Log", "Log1p", "LogSigmoid", "Relu", "Relu6", "Selu", "Sigmoid"),
    *("Silu", "Softplus", "Softsign", "Sqrt", "Square", "Tanh"),
)
# Where one tensor is, and the other is a number.
SCALING_OPERATIONS = ("Multiply", "Divide", "TrueDivide")
