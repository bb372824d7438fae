import keras
import numpy as np
import pytest

from keras_ext._anatomy._inlined import flat_names, inlined

layers = keras.layers


def sequence(*stack, **kwargs):
    return keras.Sequential([keras.Input((4,)), *stack], **kwargs)


def several():
    """A model that gives two tensors, of two that it takes by names."""
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    dense = layers.Dense(4, "tanh", name="dense")
    return keras.Model({"a": a, "b": b}, [dense(a), a - dense(b)], name="several")


def nested():
    inner = sequence(layers.Dense(4, name="dense"), layers.ReLU(), name="inner")
    middle = sequence(inner, layers.BatchNormalization(name="norm"), name="middle")
    inputs = keras.Input((4,), name="rows")
    x = layers.Dense(4, name="dense")(inputs)
    first, second = several()({"b": x, "a": inputs})
    # Twice: its weights are those of one.
    x = layers.Concatenate()([middle(first), middle(second, training=False)])
    return keras.Model(inputs, layers.Dropout(0.5)(x))


def test_it_is_the_same_without_models_inside():
    keras.utils.set_random_seed(0)
    model = nested()
    for v in model.weights:
        v.assign(v + np.random.default_rng(0).uniform(size=v.shape))
    flat = inlined(model)
    assert not any(isinstance(layer, keras.Model) for layer in flat.layers)
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    np.testing.assert_allclose(flat(x), model(x), atol=1e-6)
    for one in (flat, model):
        one(x, training=True)
    np.testing.assert_allclose(flat(x), model(x), atol=1e-6)
    assert len(flat.weights) == len(model.weights)
    # Its own layers, so that those of the model can still be asked for their output.
    assert not set(flat.layers) & set(model.layers)
    assert model.get_layer("dense").output.shape == (None, 4)


def test_names_are_kept_where_they_are_free():
    names = flat_names(nested())
    dense = [name for layer, name in names.items() if isinstance(layer, layers.Dense)]
    assert dense == ["dense", "several_dense", "middle_inner_dense"]
    assert "norm" in names.values()
    assert len(set(names.values())) == len(names)


def test_what_is_frozen_stays_so():
    inner = sequence(layers.BatchNormalization(name="norm"), name="inner")
    inner.trainable = False
    flat = inlined(sequence(inner, layers.Dense(2)))
    assert len(flat.trainable_weights) == 2
    assert not flat.get_layer("norm").trainable


@pytest.mark.filterwarnings("ignore:Layer 'inner'.* does not support masking")
def test_a_model_inside_with_a_mask_is_refused():
    inputs = keras.Input((5, 4))
    inner = keras.Sequential([keras.Input((5, 4)), layers.LSTM(4)], name="inner")
    outputs = inner(inputs, mask=inputs[:, :, 0] > 0)
    with pytest.raises(ValueError, match="called with their inputs alone.*inner"):
        inlined(keras.Model(inputs, outputs))
