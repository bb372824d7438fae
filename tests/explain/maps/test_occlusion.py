import keras
import numpy as np
import pytest

from keras_ext.explain.maps import occlusion
from tests.explain.maps import captum
from tests.explain.models import linear, normal, outputs_of, perceptron, two_inputs


@pytest.mark.parametrize("batch_size", ["auto", 5])
def test_is_that_of_captum(batch_size):
    """Captum's windows take all channels here as well, and are cut at the border."""
    background = np.full((1, 8, 8, 2), 0.25)
    found = occlusion(
        captum.model(),
        captum.X,
        outputs=captum.TARGET,
        size=3,
        stride=(2, 2),
        background=background,
        batch_size=batch_size,
    )
    np.testing.assert_allclose(found, captum.REFERENCE["occlusion"], atol=1e-6)


def test_linear_models_over_a_background():
    weights, x, background = [1.0, -2.0, 0.5], normal(4, 3), normal(6, 3, seed=1)
    found = occlusion(linear(weights), x, background=background)
    expected = weights * (x - background.mean(axis=0))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_windows_that_overlap_and_that_leave_gaps():
    model, x = linear([1.0, 2.0, 4.0, 8.0]), np.ones((1, 4))
    found = occlusion(model, x, size=2, stride=1)
    np.testing.assert_allclose(found, [[3.0, 4.5, 9.0, 12.0]], rtol=1e-6)
    found = occlusion(model, x, size=1, stride=2)
    np.testing.assert_allclose(found, [[1.0, 0.0, 4.0, 0.0]], rtol=1e-6)


def test_one_of_several_inputs_is_hidden_at_a_time():
    model = two_inputs()
    rng = np.random.default_rng(0)
    x = {"number": normal(3, 2), "tokens": rng.integers(0, 7, (3, 3))}
    found = occlusion(model, x, outputs="size", size=9)
    whole = outputs_of(model, x)["size"]
    for name, array in x.items():
        hidden = x | {name: np.zeros_like(array)}
        fall = whole - outputs_of(model, hidden)["size"]
        expected = np.broadcast_to(fall, array.shape)
        np.testing.assert_allclose(found[name], expected, atol=1e-6)


def test_rejects_bad_arguments():
    for kwargs in ({"size": 0}, {"size": (2, 2)}, {"stride": -1}):
        name = next(iter(kwargs))
        with pytest.raises(ValueError, match=f"`{name}` must be an integer >= 1"):
            occlusion(perceptron(), normal(2, 6), **kwargs)


def test_rows_without_axes():
    scalar = keras.Input(())
    model = keras.Model(scalar, keras.layers.Reshape((1,))(3.0 * scalar))
    found = occlusion(model, np.array([1.0, -2.0]))
    np.testing.assert_allclose(found, [3.0, -6.0], rtol=1e-6)
