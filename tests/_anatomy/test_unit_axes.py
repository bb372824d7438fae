"""One unit of a weight is what one output of its layer is computed from."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_ext._anatomy._unit_axes import axes_by_identity, default_unit_axes
from keras_ext.optimizers import unit_axes


def model_of(layer, *shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs, layer(*inputs), name="model")


def kernel_axes(layer, *shapes):
    """The axes of the only weight of a layer, which is called with one input."""
    model = model_of(layer, *shapes)
    (variable,) = model.trainable_variables
    return unit_axes(model)[variable.path]


def outputs_by_unit(layer, inputs, axes, output_axes):
    """For every unit of the kernel, which outputs change when it changes.

    `output_axes` are the axes of the output that number its units; an output changes
    when it does so anywhere along the others.
    """
    (kernel,) = layer.trainable_variables
    start = kernel.numpy()
    before = np.asarray(layer(inputs))
    others = tuple(i for i in range(before.ndim) if i not in output_axes)
    units = [range(n) for i, n in enumerate(start.shape) if i not in axes]
    for unit in np.ndindex(*(len(u) for u in units)):
        position = iter(unit)
        index = tuple(
            slice(None) if i in axes else next(position) for i in range(start.ndim)
        )
        changed = start.copy()
        changed[index] += 1.0
        kernel.assign(changed)
        yield np.argwhere(np.any(np.asarray(layer(inputs)) != before, axis=others))
    kernel.assign(start)


LAYERS = {
    "dense": (lambda: layers.Dense(3), (4,), [1]),
    "conv1d": (lambda: layers.Conv1D(3, 2), (5, 4), [2]),
    "conv2d": (lambda: layers.Conv2D(3, 2), (4, 4, 2), [3]),
    "conv2d groups": (lambda: layers.Conv2D(4, 2, groups=2), (4, 4, 4), [3]),
    "conv3d": (lambda: layers.Conv3D(3, 2), (3, 3, 3, 2), [4]),
    "conv1d transpose": (lambda: layers.Conv1DTranspose(3, 2), (5, 4), [2]),
    "conv2d transpose": (lambda: layers.Conv2DTranspose(3, 2), (4, 4, 2), [3]),
    "conv3d transpose": (lambda: layers.Conv3DTranspose(3, 2), (3, 3, 3, 2), [4]),
    "depthwise conv1d": (
        lambda: layers.DepthwiseConv1D(2, depth_multiplier=2),
        (5, 3),
        [2],
    ),
    "depthwise conv2d": (
        lambda: layers.DepthwiseConv2D(2, depth_multiplier=2),
        (4, 4, 3),
        [3],
    ),
    "ab,bc->ac": (lambda: layers.EinsumDense("ab,bc->ac", 3), (4,), [1]),
    "ab,cb->ac": (lambda: layers.EinsumDense("ab,cb->ac", 3), (4,), [1]),
    "abc,cd->abd": (lambda: layers.EinsumDense("abc,cd->abd", (2, 3)), (2, 4), [2]),
    "abc,bcd->abd": (
        lambda: layers.EinsumDense("abc,bcd->abd", (2, 3)),
        (2, 4),
        [1, 2],
    ),
    "abc,cde->abde": (
        lambda: layers.EinsumDense("abc,cde->abde", (2, 3, 2)),
        (2, 4),
        [2, 3],
    ),
    "abcd,cde->abe": (
        lambda: layers.EinsumDense("abcd,cde->abe", (2, 3)),
        (2, 3, 4),
        [2],
    ),
    "...x,xy->...y": (
        lambda: layers.EinsumDense("...x,xy->...y", 3),
        (4,),
        [1],
    ),
    "ab...,bc->ac...": (
        lambda: layers.EinsumDense("ab...,bc->ac...", (3, 2)),
        (4, 2),
        [1],
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_changing_a_unit_changes_one_output_and_every_output_has_a_unit(kind):
    make, shape, output_axes = LAYERS[kind]
    layer = make()
    layer.use_bias = False
    layer.build((None, *shape))
    axes = kernel_axes(layer, shape)
    inputs = np.random.default_rng(0).uniform(1, 2, (2, *shape)).astype("float32")
    changed = list(outputs_by_unit(layer, inputs, axes, output_axes))
    assert all(len(outputs) == 1 for outputs in changed)
    reached = {tuple(outputs[0]) for outputs in changed}
    sizes = [layer(inputs).shape[i] for i in output_axes]
    assert len(changed) == len(reached) == np.prod(sizes)


def test_a_unit_of_an_embedding_is_the_vector_of_one_token():
    layer = layers.Embedding(5, 3)
    assert kernel_axes(layer, (5,)) == (1,)
    inputs = np.arange(5)[None]
    for token, outputs in enumerate(outputs_by_unit(layer, inputs, (1,), [1])):
        np.testing.assert_array_equal(outputs, [[token]])


@pytest.mark.parametrize("channels", ["channels_first", "channels_last"])
def test_the_format_of_the_data_does_not_matter_to_the_kernel(channels):
    layer = layers.Conv2D(3, 2, data_format=channels, use_bias=False)
    assert kernel_axes(layer, (8, 8, 8)) == (0, 1, 2)


def test_a_separable_convolution_has_a_unit_for_each_of_its_filters():
    model = model_of(layers.SeparableConv2D(7, 3, depth_multiplier=2), (8, 8, 4))
    by_name = {v.name: unit_axes(model)[v.path] for v in model.trainable_variables}
    assert by_name == {
        "depthwise_kernel": (0, 1),
        "pointwise_kernel": (0, 1, 2),
        "bias": (0,),
    }


@pytest.mark.parametrize(
    "layer", [layers.MultiHeadAttention(2, 3), layers.GroupQueryAttention(3, 2, 1)]
)
def test_a_unit_of_attention_is_one_dimension_of_a_head(layer):
    model = model_of(layer, (4, 5), (4, 5))
    by_name = {
        "/".join(v.path.split("/")[-2:]): unit_axes(model)[v.path]
        for v in model.trainable_variables
    }
    assert by_name == {
        "query/kernel": (0,),  # (features, heads, size)
        "query/bias": (0, 1),  # (heads, size), as a whole
        "key/kernel": (0,),
        "key/bias": (0, 1),
        "value/kernel": (0,),
        "value/bias": (0, 1),
        "attention_output/kernel": (0, 1),  # (heads, size, features)
        "attention_output/bias": (0,),
    }


@pytest.mark.parametrize(
    ("layer", "bias"), [(layers.LSTM(3), (0,)), (layers.GRU(3), (0, 1))]
)
def test_a_unit_of_a_recurrent_layer_is_one_gate_of_one_cell(layer, bias):
    model = model_of(layer, (4, 5))
    by_name = {v.name: unit_axes(model)[v.path] for v in model.trainable_variables}
    assert by_name == {"kernel": (0,), "recurrent_kernel": (0,), "bias": bias}


def test_scales_and_offsets_are_one_unit():
    model = model_of(layers.BatchNormalization(), (4,))
    axes = unit_axes(model)
    assert sorted(axes.values()) == [(0,), (0,)]
    assert all("gamma" in path or "beta" in path for path in axes)


def test_finds_the_layer_that_owns_a_weight_wherever_it_is():
    transposed = layers.Conv1DTranspose(3, 2, use_bias=False, name="up")
    inner = keras.Sequential(
        [keras.Input((5, 4)), layers.TimeDistributed(layers.Dense(4)), transposed]
    )
    model = keras.Sequential([keras.Input((5, 4)), inner, layers.Dense(2)])
    axes = unit_axes(model)
    assert axes[transposed.kernel.path] == (0, 2)
    assert axes[model.layers[-1].kernel.path] == (0,)
    assert set(axes) == {v.path for v in model.trainable_variables}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda layer: layers.TimeDistributed(layer),
        lambda layer: layers.SpectralNormalization(layer),
    ],
)
def test_a_wrapper_does_not_hide_what_its_layer_is(wrap):
    layer = layers.Conv2DTranspose(3, 2, use_bias=False)
    wrapper = wrap(layer)
    shape = (5, 6, 6, 4) if isinstance(wrapper, layers.TimeDistributed) else (6, 6, 4)
    model = model_of(wrapper, shape)
    assert unit_axes(model)[layer.kernel.path] == (0, 1, 3)


def test_a_subclass_of_a_layer_is_like_it():
    class Upsampling(layers.Conv1DTranspose):
        pass

    assert kernel_axes(Upsampling(3, 2, use_bias=False), (5, 4)) == (0, 2)


class Custom(layers.Layer):
    """Has weights of its own and a layer inside."""

    def build(self, input_shape):
        self.mix = self.add_weight(shape=(2, 3, 4), name="mix")
        self.grid_bias = self.add_weight(shape=(2, 3), name="grid_bias")
        self.gain = self.add_weight(shape=(), name="gain")
        self.frozen = self.add_weight(shape=(2, 2), name="frozen", trainable=False)
        self.up = layers.Conv1DTranspose(3, 2, use_bias=False)
        self.up.build(input_shape)

    def call(self, inputs):
        return self.up(inputs) * self.gain


def test_a_layer_of_ones_own_has_its_outputs_in_the_last_axis():
    layer = Custom()
    model = model_of(layer, (5, 4))
    assert unit_axes(model) == {
        layer.mix.path: (0, 1),
        layer.grid_bias.path: (0, 1),
        layer.gain.path: (),
        layer.up.kernel.path: (0, 2),
    }


def test_lists_only_what_is_trained():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    model.layers[0].trainable = False
    assert set(unit_axes(model)) == {v.path for v in model.layers[1].weights}


def test_is_plain_data():
    axes = unit_axes(model_of(layers.Conv2DTranspose(3, 2), (4, 4, 2)))
    assert json.loads(json.dumps(axes)) == {k: list(v) for k, v in axes.items()}


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((), ()), ((3,), (0,)), ((3, 4), (0,)), ((2, 3, 4, 5), (0, 1, 2))],
)
def test_without_a_layer_the_last_axis_has_the_outputs(shape, axes):
    assert default_unit_axes(keras.Variable(np.zeros(shape))) == axes


def test_fits_a_model_that_was_loaded_from_a_file(tmp_path):
    """Keras drops the names of `Sequential` models from the paths."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.Sequential([layers.Conv2DTranspose(4, 3, name="up")], name="inner"),
            layers.DepthwiseConv2D(3, name="depthwise"),
        ],
        name="model",
    )
    listed = unit_axes(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.trainable_variables[0].path == "up/kernel"
    found = axes_by_identity(loaded.trainable_variables, listed)
    assert list(found.values()) == list(listed.values())
    assert found[id(loaded.trainable_variables[0])] == (0, 1, 3)


def test_takes_the_default_where_a_path_could_be_one_of_several():
    kernel = keras.Variable(np.zeros((2, 3)), dtype="float32", name="kernel")
    for axes, expected in (((1,), (0,)), ((0,), (0,))):
        found = axes_by_identity([kernel], {"a/kernel": axes, "b/kernel": (0,)})
        assert found == {id(kernel): expected}
    assert axes_by_identity([kernel], {"a/kernel": (1,)}) == {id(kernel): (1,)}
    assert axes_by_identity([kernel], {"a/other_kernel": (1,)}) == {id(kernel): (0,)}
