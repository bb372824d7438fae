import matplotlib as mpl
import numpy as np
import pytest
import shap

from keras_ext.explain.plots import sequence
from tests.explain.models import normal

mpl.use("agg")


@pytest.fixture(autouse=True)
def _leaves_no_figure_open():
    yield
    assert mpl.pyplot.get_fignums() == []


def explanation(*shape, data=True, names=None):
    values = normal(*shape)
    outputs = shape[3:]
    given = normal(*shape[:3], seed=1) if data else None
    base = np.zeros((shape[0], *outputs))
    return shap.Explanation(values, base, data=given, output_names=names)


def test_draws_data_values_and_sums_of_one_row():
    found = explanation(3, 7, 2)
    figure = sequence(found, row=1, feature_names=["wind", "rain"])
    data, values, sums = figure.axes[:3]
    np.testing.assert_allclose(data.lines[1].get_ydata(), found.data[1, :, 1])
    assert [t.get_text() for t in data.get_legend().get_texts()] == ["wind", "rain"]
    np.testing.assert_allclose(values.images[0].get_array(), found.values[1].T)
    assert [t.get_text() for t in values.get_yticklabels()] == ["wind", "rain"]
    heights = [bar.get_height() for bar in sums.patches]
    np.testing.assert_allclose(heights, found.values[1].sum(axis=1))
    low, high = values.images[0].get_clim()
    assert low == -high


def test_a_single_feature_needs_no_picture_of_values():
    assert len(sequence(explanation(2, 9)).axes) == 2
    assert len(sequence(explanation(2, 9, data=False)).axes) == 1


def test_outputs_are_chosen_by_name_or_number():
    found = explanation(2, 5, 3, 2, names=["up", "down"])
    for output in (1, "down"):
        image = sequence(found, output=output).axes[1].images[0]
        np.testing.assert_allclose(image.get_array(), found.values[0, ..., 1].T)
    assert sequence(found, output=0).get_suptitle().startswith("up: ")


def test_many_features_are_drawn_as_pictures_with_fewer_labels():
    figure = sequence(explanation(1, 6, 60))
    assert figure.axes[0].images
    assert not figure.axes[0].lines
    assert len(figure.axes[1].get_yticklabels()) <= 25
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"row": 2}, r"`row` must be an integer from 0 to 1"),
        ({}, r"`output` must be the number or name of one of .*\['up', 'down'\]"),
        ({"output": "left"}, r"`output` must be the number or name"),
        ({"output": 0, "feature_names": ["a"]}, r"`feature_names` must be 3 names"),
        ({"output": 0, "feature_names": "abc"}, r"`feature_names` must be 3 names"),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    found = explanation(2, 5, 3, 2, names=["up", "down"])
    with pytest.raises(ValueError, match=message):
        sequence(found, **kwargs)


def test_rejects_images():
    with pytest.raises(ValueError, match=r"`explanation` must be of the shape \(rows"):
        sequence(shap.Explanation(np.zeros((1, 2, 2, 2)), np.zeros(1)))
