import numpy as np

from keras_ext.schedules import Rex


def test_lies_above_a_line_and_meets_it_at_the_ends():
    steps = np.arange(101)
    rates = np.asarray(Rex(1.0, 100)(steps))
    line = 1 - steps / 100
    assert (rates[1:-1] > line[1:-1]).all()
    np.testing.assert_allclose(rates[[0, -1]], [1, 0])
