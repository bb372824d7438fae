import numpy as np
import pytest
import tensorflow as tf

from keras_ext.compression._learned_rounding import learned_rounding, scaled_gradient


def lsq(values, step, least, most):
    """Equations 1 to 3 of the paper, and the gradient of the entries."""
    place = values / step
    rounded = np.round(np.clip(place, least, most)) * step
    of_step = np.where(place <= least, least, np.round(place) - place)
    of_step = np.where(place >= most, most, of_step)
    return rounded, of_step, ((place > least) & (place < most)).astype(float)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_gradients_of_kernels_are_those_of_lsq(bits):
    most = 2 ** (bits - 1) - 1
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 3)).astype("float32")
    steps = np.array([0.3, 0.7, 2.0], "float32") / most
    upstream = rng.normal(size=values.shape).astype("float32")
    x, step = tf.Variable(values), tf.Variable(steps)
    with tf.GradientTape() as tape:
        end = most * step
        y = learned_rounding(x, -end, end, bits=bits, narrow=True, axis=-1)
        loss = tf.reduce_sum(y * upstream)
    of_x, of_step = tape.gradient(loss, [x, step])
    expected, each, through = lsq(values.astype("f8"), steps.astype("f8"), -most, most)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(of_x, upstream * through, atol=1e-6)
    np.testing.assert_allclose(of_step, (upstream * each).sum(0), rtol=1e-3, atol=1e-3)


def test_the_ends_of_a_range_move_the_step_and_what_is_beyond():
    """By differences of what the levels would be without rounding to whole ones."""
    x = np.array([-2.0, -0.4, 0.1, 0.9, 5.0], "float32")
    low, high = tf.Variable(-1.0), tf.Variable(2.0)
    with tf.GradientTape(persistent=True) as tape:
        y = learned_rounding(tf.constant(x), low, high, bits=2, narrow=False)
        parts = tf.unstack(y)
    step = 1.0
    for i, value in enumerate(x):
        place = (value + 1.0) / step
        moved = (np.round(place) - place) / 3 if 0 <= place <= 3 else 0.0
        of_low, of_high = tape.gradient(parts[i], [low, high])
        assert float(of_low) == pytest.approx((value < -1) - moved, abs=1e-5)
        assert float(of_high) == pytest.approx((value > 2) + moved, abs=1e-5)


def test_scaled_gradients_leave_the_value():
    x = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        y = scaled_gradient(x, 0.25) ** 2
    assert float(y) == 9.0
    assert float(tape.gradient(y, x)) == 1.5
