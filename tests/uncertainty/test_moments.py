import keras
import numpy as np
from keras import ops

from keras_ext.uncertainty._moments import moments


def test_moments_of_what_is_drawn_in_turn():
    """Draws 0, 1, 2, 3: the state of a variable, as that of random numbers."""
    count = keras.Variable(0.0)

    def draw():
        value = ops.convert_to_tensor(count) * ops.ones((2, 1))
        count.assign_add(1.0)
        return [value, ops.cast(0.25 * value + 0.1, "float16")]

    found = moments(draw, 4, ["values", "probabilities"])
    np.testing.assert_allclose(found["mean"][0], 1.5 * np.ones((2, 1)))
    np.testing.assert_allclose(found["variance"][0], 1.25 * np.ones((2, 1)))
    p = 0.25 * np.arange(4) + 0.1
    whole = -(p.mean() * np.log(p.mean()) + (1 - p.mean()) * np.log(1 - p.mean()))
    inner = -np.mean(p * np.log(p) + (1 - p) * np.log(1 - p))
    (entropy,), (mutual,) = found["entropy"], found["mutual_information"]
    np.testing.assert_allclose(entropy, [whole] * 2, rtol=2e-3)
    np.testing.assert_allclose(mutual, [whole - inner] * 2, rtol=2e-2)


def test_one_draw_has_no_spread():
    found = moments(lambda: [ops.ones((3, 2))], 1, ["values"])
    np.testing.assert_array_equal(found["variance"][0], np.zeros((3, 2)))
    assert found["entropy"] == found["mutual_information"] == []
