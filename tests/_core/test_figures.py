import pickle

import matplotlib as mpl
import numpy as np
import pytest

from keras_ext._core._figures import FAINT, draw_bars, new_figure, plain

mpl.use("agg")


def test_pyplot_knows_nothing_of_the_figure(tmp_path):
    open_before = mpl.pyplot.get_fignums()
    figure, axes = new_figure(2, 3, extra="explain", size=(4, 3), squeeze=False)
    assert mpl.pyplot.get_fignums() == open_before
    assert axes.shape == (2, 3)
    assert figure.get_size_inches().tolist() == [4, 3]
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    # What a notebook asks for.
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert pickle.loads(pickle.dumps(figure))._repr_png_() == figure._repr_png_()


@pytest.mark.parametrize(
    "name", ["cost ($)", "US$ per A$", "$\\frac$", "a_$1^$", "$$", "\\$", "a"]
)
def test_dollars_are_drawn_as_they_are(name):
    figure, axes = new_figure(extra="explain", size=(3, 2))
    title = axes.set_title(plain(name))
    figure.canvas.draw()  # a formula that is none would end here
    drawn, is_formula = title._preprocess_math(title.get_text())
    assert (drawn, bool(is_formula)) == (name, False)


def rgb(color):
    return tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))


def test_bars_are_as_long_as_means_and_the_largest_is_on_top():
    figure = draw_bars(
        ["age", "income_$"],
        np.array([3.0, 0.5]),
        label="size",
        extra="explain",
        others=True,
    )
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [3.0, 0.5]
    assert axes.yaxis_inverted()
    # The last bar is that of others.
    first, last = (bar.get_facecolor()[:3] for bar in axes.patches)
    np.testing.assert_allclose(last, rgb(FAINT))
    assert not np.allclose(first, last)
