"""Curves in panels."""

import matplotlib as mpl
import numpy as np

from keras_ext._core._panels import Curve, draw_panels


def test_each_title_has_a_panel_and_nothing_stays_open():
    before = mpl.pyplot.get_fignums()
    curves = [Curve([1, 2], [0.5, 0.25], "a"), Curve([1, 2], [3, 4], "b")]
    panels = {str(i): curves[: 1 + i % 2] for i in range(5)}
    figure = draw_panels(panels, {"end": 2})
    assert [axes.get_title() for axes in figure.axes] == list("01234")
    assert mpl.pyplot.get_fignums() == before
    lines = figure.axes[1].lines
    assert [line.get_label() for line in lines] == ["a", "b", "end"]
    np.testing.assert_array_equal(lines[1].get_xydata(), [[1, 3], [2, 4]])
    figure.canvas.draw()
    assert all(x == int(x) for x in figure.axes[0].get_xticks())
    # Counts change at once, and not little by little.
    assert [line.get_drawstyle() for line in lines[:2]] == ["default", "steps-mid"]


def test_a_single_value_is_seen():
    figure = draw_panels({"only": [Curve([1], [0.5])]})
    assert figure.axes[0].lines[0].get_marker() == "o"
