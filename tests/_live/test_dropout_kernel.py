import keras
import numpy as np
import pytest

from keras_ext._live._dropout_kernel import live_dropout, resolved_noise_shape


def test_keeps_its_share_and_the_mean():
    x = np.ones((200, 100), "float32")
    seed = keras.random.SeedGenerator(0)
    out = np.asarray(live_dropout(x, np.float32(0.25), x.shape, seed))
    assert set(np.unique(out.round(5))) == {0.0, np.float32(1.33333)}
    # Five deviations of the mean of 20,000 draws.
    assert out.mean() == pytest.approx(1.0, abs=5 * np.sqrt(0.25 / 0.75 / 20_000))


def test_at_rate_0_every_bit_stays():
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    seed = keras.random.SeedGenerator(0)
    np.testing.assert_array_equal(live_dropout(x, np.float32(0.0), x.shape, seed), x)


def test_noise_shapes():
    x = np.ones((4, 5, 6), "float32")
    assert tuple(resolved_noise_shape((None, 1, None), x)) == (4, 1, 6)
    assert tuple(resolved_noise_shape(None, x)) == (4, 5, 6)
    with pytest.raises(ValueError, match="`noise_shape` must be as long as"):
        resolved_noise_shape((None, 1), x)
