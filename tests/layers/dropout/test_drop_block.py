"""Blocks, their frequency in closed form, and the mask of timm in NumPy."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from keras_ext.layers import DropBlock1D, DropBlock2D, DropBlock3D
from tests.thorough import LONG

LAYERS = {1: DropBlock1D, 2: DropBlock2D, 3: DropBlock3D}


def dropped(rank, rate, size, spatial, draws=3000, channels=1, **kwargs):
    layer = LAYERS[rank](rate, size, seed=1, **kwargs)
    ones = np.ones((draws, *spatial, channels), "float32")
    return np.asarray(layer(ones, training=True)) == 0


def start_rate(rate, sizes, spatial):
    """`gamma` of the paper."""
    places = np.prod([n - b + 1 for n, b in zip(spatial, sizes, strict=True)])
    return rate * np.prod(spatial) / np.prod(sizes) / places


def covering(sizes, spatial):
    """How many blocks that lie inside cover each position."""
    count = np.zeros(spatial)
    starts = [range(n - b + 1) for n, b in zip(spatial, sizes, strict=True)]
    for start in itertools.product(*starts):
        block = tuple(slice(s, s + b) for s, b in zip(start, sizes, strict=True))
        count[block] += 1
    return count


@pytest.mark.parametrize(
    ("size", "sizes", "spatial"),
    [
        (3, (3,), (9,)),
        (3, (3, 3), (7, 6)),
        (2, (2, 2), (5, 5)),
        ((1, 3), (1, 3), (4, 5)),
        (7, (4, 5), (4, 5)),  # clipped
        (2, (2, 2, 2), (3, 4, 3)),
    ],
)
def test_every_position_is_dropped_as_often_as_it_should(size, sizes, spatial):
    mask = dropped(len(spatial), 0.2, size, spatial)
    gamma = start_rate(0.2, sizes, spatial)
    # It stays if no block begins at any of the places that cover it.
    expected = 1 - (1 - gamma) ** covering(sizes, spatial)
    # A standard error of 0.009 at most.
    np.testing.assert_allclose(mask.mean(axis=0)[..., 0], expected, atol=0.045)


def test_what_is_dropped_is_made_of_blocks():
    for mask in dropped(2, 0.1, 3, (8, 8), draws=100)[..., 0]:
        starts = [
            (i, j)
            for i, j in itertools.product(range(6), repeat=2)
            if mask[i : i + 3, j : j + 3].all()
        ]
        filled = np.zeros_like(mask)
        for i, j in starts:
            filled[i : i + 3, j : j + 3] = True
        np.testing.assert_array_equal(filled, mask)


def test_share_and_scale_are_those_of_timm():
    """Its `drop_block_2d`, with centres inside of a clipping mask, over many draws."""
    rng, size, n, rate = np.random.default_rng(0), 3, 8, 0.3
    gamma = rate * n**2 / size**2 / (n - size + 1) ** 2
    centre = np.zeros((n, n))
    centre[1:-1, 1:-1] = 1
    seeds = (rng.random((3000, n, n)) < gamma) * centre
    theirs = maximum_filter(seeds, (1, size, size), mode="constant") > 0
    ours = dropped(2, rate, size, (n, n))[..., 0]
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.01)
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.06)
    ones = np.ones((50, n, n, 2), "float32")
    y = np.asarray(DropBlock2D(rate, size, seed=2)(ones, training=True))
    np.testing.assert_allclose(y.max(), y.size / (y != 0).sum(), rtol=1e-5)


def test_channels_have_their_own_blocks_or_one():
    own = dropped(2, 0.3, 2, (6, 6), draws=50, channels=3)
    assert np.any(own[..., 0] != own[..., 1])
    shared = dropped(2, 0.3, 2, (6, 6), draws=50, channels=3, per_channel=False)
    np.testing.assert_array_equal(shared, np.repeat(shared[..., :1], 3, axis=-1))


def test_unknown_sizes_and_channels_first():
    layer = DropBlock2D(0.3, 2, seed=1, data_format="channels_first")
    layer.build((None, 3, None, None))
    first = np.asarray(layer(np.ones((9, 3, 5, 6), "float32"), training=True))
    last = DropBlock2D(0.3, 2, seed=1)
    last = np.asarray(last(np.ones((9, 5, 6, 3), "float32"), training=True))
    np.testing.assert_allclose(np.moveaxis(first, 1, -1), last, rtol=1e-6)


@pytest.mark.thorough(LONG)
def test_everything_can_be_dropped():
    x = np.ones((1, 2, 1), "float32")
    layer = DropBlock1D(0.95, 2, seed=1)
    seen = {tuple(np.asarray(layer(x, training=True))[0, :, 0]) for _ in range(40)}
    assert seen == {(0.0, 0.0), (1.0, 1.0)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 1.0}, r"`rate` must be a number in \[0, 0\.95\]"),
        ({"block_size": 0}, "`block_size` must be an integer >= 1, or a list of 2"),
        (
            {"block_size": (1, 2, 3)},
            "`block_size` must be an integer >= 1, or a list of 2",
        ),
        ({"per_channel": 1}, "`per_channel` must be True or False"),
        ({"data_format": "NCHW"}, '`data_format` must be "channels_last", '),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DropBlock2D(**arguments)


def test_rejects_inputs_of_another_rank():
    with pytest.raises(ValueError, match="`input_shape` must be of 4 axes"):
        DropBlock2D().build((None, 4, 4))
