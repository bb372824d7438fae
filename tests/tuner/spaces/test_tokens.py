"""Positions and patches."""

import keras
import numpy as np
import pytest

from keras_ext.tuner.spaces._tokens import checked_sequence, patches, positions


@pytest.mark.parametrize("width", [4, 5])
def test_positions_are_those_of_the_paper(width):
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i + 1) the cosine of it."""
    found = positions(3, width)
    assert found.shape == (3, width)
    for pos in range(3):
        for j in range(width):
            angle = pos / 10_000 ** (2 * (j // 2) / width)
            wanted = np.cos(angle) if j % 2 else np.sin(angle)
            assert found[pos, j] == pytest.approx(wanted, abs=1e-6)


def test_patches_are_read_row_by_row():
    inputs = keras.Input((4, 6, 1))
    model = keras.Model(inputs, patches(inputs, 3, 2))
    assert model.output_shape == (None, 6, 3)
    image = np.zeros((1, 4, 6, 1), "float32")
    image[0, 0, 4] = 1.0  # in the third patch of the first row
    changed = np.abs(model(image) - model(0 * image)).sum(-1)[0] > 0
    assert changed.tolist() == [False, False, True, False, False, False]


def test_sequences_are_of_features_or_of_tokens():
    assert checked_sequence((5, 2), None) == ((5, 2), None)
    assert checked_sequence([5], 7) == ((5,), 7)
