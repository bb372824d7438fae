import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.explain.maps import rise
from keras_ext.explain.maps._rise import Masks
from tests.explain.models import convnet, normal, perceptron, two_inputs
from tests.thorough import LONG


def masks_by_resizing(masks, size):
    """As the authors make them: each grid is enlarged, and cut to size."""
    cells = masks.grids.shape[1]
    length = -(-size // cells)
    found = []
    for grid, (top, left) in zip(masks.grids, masks.offsets, strict=True):
        large = tf.image.resize(
            grid[..., None].astype("float32"), [(cells + 1) * length] * 2
        )
        found.append(large[top : top + size, left : left + size, 0])
    return np.stack(found)


@pytest.mark.parametrize("batch_size", ["auto", 9])
def test_brute_force(batch_size):
    model, x = convnet(), normal(3, 4, 4, 1)
    masks = masks_by_resizing(Masks((4, 4), 40, 3, 0.4, 5), 4)
    found = rise(
        model,
        x,
        outputs=None,
        num_masks=40,
        cells=3,
        rate=0.4,
        batch_size=batch_size,
        seed=5,
    )
    expected = np.zeros((3, 4, 4, 1, 3))
    for mask in masks:
        outputs = model(x * mask[..., None]).numpy()
        expected += mask[None, :, :, None, None] * outputs[:, None, None, None]
    np.testing.assert_allclose(found, expected / 40 / 0.4, atol=1e-5)


def test_masks_show_what_they_should_of_every_place():
    masks = Masks((20,), 4000, 5, 0.3, 0)[:]
    assert masks.min() >= 0
    assert masks.max() <= 1
    np.testing.assert_allclose(masks.mean(axis=0), 0.3, atol=0.03)  # 4 errors
    assert Masks((6, 5, 4), 3, 2, 0.5, 0)[:].shape == (3, 120)


@pytest.mark.thorough(LONG)
def test_a_row_has_the_same_map_alone_and_among_others():
    model, x = perceptron(outputs=3), normal(4, 6)
    whole = rise(model, x, num_masks=30)
    alone = rise(model, x[2:3], num_masks=30, jit=True)
    np.testing.assert_allclose(alone, whole[2:3], atol=1e-5)


def test_channels_are_hidden_together():
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.Flatten()])
    found = rise(model, normal(2, 5, 3), outputs=0, num_masks=20)
    np.testing.assert_array_equal(found[..., 0], found[..., 2])


def test_rejects_bad_arguments():
    for name, value in {"num_masks": 0, "cells": 0, "rate": 0.0, "seed": -1}.items():
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            rise(perceptron(), normal(2, 6), **{name: value})
    rows = {"number": normal(2, 2), "tokens": np.zeros((2, 3))}
    with pytest.raises(ValueError, match=r"`x` must be one input .* `occlusion`"):
        rise(two_inputs(), rows)
