"""Curves in panels."""

import matplotlib as mpl
import numpy as np
import pytest

from keras_ext._core._panels import Curve, draw_panels


def test_each_title_has_a_panel_and_nothing_stays_open():
    before = mpl.pyplot.get_fignums()
    curves = [Curve([1, 2], [0.5, 0.25], "a"), Curve([1, 2], [3, 4], "b")]
    panels = {str(i): curves[: 1 + i % 2] for i in range(5)}
    figure = draw_panels(panels, {"end": 2})
    assert [axes.get_title() for axes in figure.axes] == list("01234")
    assert mpl.pyplot.get_fignums() == before
    assert figure.axes[0].get_gridspec().get_geometry() == (2, 3)
    assert not figure.axes[4].spines["top"].get_visible()
    lines = figure.axes[1].lines
    assert [line.get_label() for line in lines[:2]] == ["a", "b"]
    legends = [axes.get_legend().get_texts() for axes in figure.axes]
    shown = [[text.get_text() for text in texts] for texts in legends]
    assert shown == [["a", "end"], ["a", "b"], ["a"], ["a", "b"], ["a"]]
    assert all(list(axes.lines[-1].get_xdata()) == [2, 2] for axes in figure.axes)
    np.testing.assert_array_equal(lines[1].get_xydata(), [[1, 3], [2, 4]])
    figure.canvas.draw()
    assert all(x == int(x) for x in figure.axes[0].get_xticks())
    # Counts change at once, and not little by little.
    assert [line.get_drawstyle() for line in lines[:2]] == ["default", "steps-mid"]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1.0, 999.0], "linear"),
        ([1.0, 1001.0], "log"),
        ([float("nan"), 1.0, 1001.0], "log"),
        ([0.0, 1.0, 1001.0], "linear"),
        ([float("nan")], "linear"),
    ],
)
def test_what_spans_three_decades_has_a_logarithmic_scale(values, scale):
    epochs = range(1, len(values) + 1)
    figure = draw_panels({"only": [Curve(epochs, values)]})
    assert figure.axes[0].get_yscale() == scale


def test_a_single_value_is_seen():
    figure = draw_panels({"only": [Curve([1], [0.5])]})
    assert figure.axes[0].lines[0].get_marker() == "o"
