import keras
import numpy as np

from keras_ext._engine._sides import eigen, matrix_shape, outer, sides_of, turned

RNG = np.random.default_rng(0)


def variable(*shape):
    return keras.Variable(np.zeros(shape, "float32"))


def test_a_weight_is_a_matrix_from_inputs_to_outputs_or_a_vector():
    assert matrix_shape(variable(3, 3, 2, 5)) == (18, 5)
    assert matrix_shape(variable(4)) == (4,)
    assert matrix_shape(variable()) == (1,)


def test_sides_that_are_too_long_are_left_out():
    assert sides_of(variable(2, 3, 5), 6) == {"left": 6, "right": 5}
    assert sides_of(variable(2, 3, 5), 5) == {"right": 5}
    assert sides_of(variable(4), 4) == {"right": 4}


def test_matrices_of_sides_say_what_varies_together():
    matrix, vector = RNG.normal(size=(3, 2)), RNG.normal(size=2)
    np.testing.assert_allclose(outer(matrix, "left"), matrix @ matrix.T)
    np.testing.assert_allclose(outer(matrix, "right"), matrix.T @ matrix)
    np.testing.assert_allclose(outer(vector, "right"), np.outer(vector, vector))


def test_what_is_not_finite_has_no_eigenvalues_and_ends_nothing():
    matrix = np.diag([3.0, 1.0]).astype("float32")
    np.testing.assert_allclose(eigen(keras.ops.array(matrix))[0], [1.0, 3.0])
    matrix[0, 1] = np.inf
    assert all(np.isnan(found).all() for found in eigen(keras.ops.array(matrix)))


def test_what_is_turned_can_be_turned_back():
    matrix, vector = RNG.normal(size=(3, 4)), RNG.normal(size=4)
    by = {
        s: np.linalg.qr(RNG.normal(size=(n, n)))[0]
        for s, n in (("left", 3), ("right", 4))
    }
    there = turned(matrix, by)
    np.testing.assert_allclose(there, by["left"].T @ matrix @ by["right"])
    np.testing.assert_allclose(turned(there, by, back=True), matrix)
    only = {"right": by["right"]}
    np.testing.assert_allclose(turned(vector, only), vector @ by["right"])
    np.testing.assert_allclose(turned(turned(vector, only), only, back=True), vector)
