import matplotlib as mpl
import numpy as np
import pytest
import shap

from keras_ext.explain import Explainer, groups
from keras_ext.explain.plots import image_grid
from tests.explain.models import convnet, normal

mpl.use("agg")


@pytest.fixture(autouse=True)
def _leaves_no_figure_open():
    yield
    assert mpl.pyplot.get_fignums() == []


def explanation(outputs=()):
    values = np.zeros((3, 4, 5, 2, *outputs))
    values[0, 1, 2, 0], values[0, 3, 4, 1] = 2.0, -2.0
    values[1, 0, 0], values[2, 0, 0] = 1.0, 0.5
    base = np.full((3, *outputs), 0.25)
    names = ["cat", "dog"] if outputs else None
    return shap.Explanation(values, base, data=normal(3, 4, 5, 2), output_names=names)


def test_what_raises_is_red_and_what_lowers_is_blue():
    figure = image_grid(explanation(), titles=["one", "two", "three"])
    picture, cell = figure.axes[:2]
    red, _, blue, alpha = cell.images[1].get_array()[1, 2]
    assert red == alpha == 1
    assert blue < 0.5
    red, _, blue, alpha = cell.images[1].get_array()[3, 4]
    assert red == 0
    assert blue > 0.9
    assert alpha == 1
    assert cell.images[1].get_array()[2, 2, 3] == 0  # of no value: not covered
    assert picture.get_title() == "one"
    assert cell.get_title() == "output: 0.250 \N{RIGHTWARDS ARROW} 0.250"


def test_channels_are_added_and_all_pictures_have_one_scale():
    figure = image_grid(explanation())
    two, three = (figure.axes[i].images[1].get_array()[0, 0, 3] for i in (3, 5))
    assert two == 1  # 1 in each of two channels is the largest value
    assert 0.5 < three < 0.8


def test_outputs_stand_side_by_side_with_their_names():
    figure = image_grid(explanation((2,)), max_rows=2)
    assert len(figure.axes) == 2 * 3 + 1  # and the scale
    titles = [axes.get_title().partition(":")[0] for axes in figure.axes[:6]]
    assert titles == ["", "cat", "dog"] * 2


def test_images_that_are_shown_in_place_of_the_data():
    images = np.zeros((3, 4, 5, 3))
    images[..., 0] = 200.0
    figure = image_grid(explanation(), images=images)
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown, np.broadcast_to([1.0, 0, 0], (4, 5, 3)))


def test_takes_what_explainers_return():
    x = normal(2, 4, 4, 1)
    labels = groups.grid((4, 4, 1), 2)
    explainer = Explainer(convnet(), x, groups=labels)
    found = explainer(x)
    image_grid(explainer.spread(found, x)).canvas.draw()
    with pytest.raises(ValueError, match=r"`explanation` must be .*Explainer.spread"):
        image_grid(found)


def test_takes_maps_without_a_base_value():
    heat = np.abs(normal(2, 4, 4))
    figure = image_grid(heat, images=normal(2, 4, 4, 1))
    assert figure.axes[1].get_title() == ""
    assert len(figure.axes[1].images) == 2


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_rows": 0}, r"`max_rows` must be an integer >= 1"),
        ({"titles": ["one"]}, r"`titles` must be 3 titles, one for each row"),
        ({"titles": 3}, r"`titles` must be 3 titles, one for each row"),
        ({"images": "cat.png"}, r"`images` must be of the shape \(3, 4, 5\)"),
        ({"explanation": "red"}, r"`explanation` must be of the shape \(rows, height"),
        ({"explanation": {1, 2}}, r"`explanation` must be of the shape \(rows, height"),
        ({"images": np.zeros((3, 5, 4))}, r"`images` must be of the shape \(3, 4, 5\)"),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        image_grid(**{"explanation": explanation(), **kwargs})
