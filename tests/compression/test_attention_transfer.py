import keras
import numpy as np
import pytest

from keras_ext.compression import AttentionTransfer


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def direction(places):
    flat = places.reshape(len(places), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def test_compares_where_layers_are_active():
    loss = AttentionTransfer("a", "b", power=3.0)
    loss = AttentionTransfer.from_config(loss.get_config())
    known, learned = numbers(2, 4, 6, 5), numbers(2, 2, 3, 8)
    maps = [np.mean(np.abs(a) ** 3, axis=-1) for a in (known, learned)]
    # A map that is twice as long is averaged over squares of two.
    maps[0] = maps[0].reshape(2, 2, 2, 3, 2).mean(axis=(2, 4))
    expected = np.mean(np.square(direction(maps[0]) - direction(maps[1])))
    np.testing.assert_allclose(loss.compute_loss(known, learned), expected, rtol=1e-5)
    # It does not matter which of both is larger, nor by how much they are active.
    np.testing.assert_allclose(
        loss.compute_loss(9 * learned, known), expected, rtol=1e-5
    )


def test_a_layer_that_is_not_active_has_a_finite_gradient():
    import tensorflow as tf

    loss, dead = AttentionTransfer("a", "b"), tf.zeros((1, 2, 2, 3))
    with tf.GradientTape() as tape:
        tape.watch(dead)
        value = loss.compute_loss(numbers(1, 2, 2, 3), dead)
    assert np.isfinite(tape.gradient(value, dead)).all()


def test_rejects_maps_that_do_not_fit():
    def model(size):
        inputs = keras.Input((size, size, 1))
        return keras.Model(inputs, keras.layers.ReLU(name="relu")(inputs))

    loss = AttentionTransfer("relu", "relu")
    loss.validate_model_compatibility(model(4), model(8))
    with pytest.raises(ValueError, match=r"places fit those of the teacher, \(4, 4\)"):
        loss.validate_model_compatibility(model(4), model(6))
