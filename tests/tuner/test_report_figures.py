import keras_tuner
import numpy as np
import pytest

from keras_ext.tuner import _report_figures as figures
from keras_ext.tuner._report_figures import Scale


@pytest.fixture
def space():
    space = keras_tuner.HyperParameters()
    space.Float("rate", 1e-4, 1.0, sampling="log")
    space.Int("width", 1, 100)
    space.Choice("kind", ["a", "b", "c"])
    space.Boolean("flag")
    return {hp.name: hp for hp in space.space}


def test_scales_run_over_what_was_tried(space):
    rows = [{"rate": 0.001, "width": 10, "kind": "c"}, {"rate": 0.1, "width": 30}]
    rate, width, kind = (Scale(space[n], rows) for n in ("rate", "width", "kind"))
    assert rate.place({"rate": 0.01}) == pytest.approx(0.5)
    assert [width.place(row) for row in rows] == [0.0, 1.0]
    assert [text for _, text in width.ticks()] == ["10", "30"]
    # Of three words one was tried, and the second trial had none.
    assert [text for _, text in kind.ticks()] == ["c", "unused"]
    assert kind.place(rows[1]) < 0
    assert Scale(space["width"], [{"width": 7}]).ticks() == [(0.5, "7")]
    flags = Scale(space["flag"], [{"flag": True}, {"flag": False}])
    assert [text for _, text in flags.ticks()] == ["False", "True"]


@pytest.mark.parametrize("second", ["min", "max"])
@pytest.mark.parametrize("first", ["min", "max"])
def test_the_line_of_a_front_promises_no_more_than_was_found(ended, first, second):
    from dataclasses import replace

    from keras_ext.tuner._records import records_of

    signs = [1 if direction == "min" else -1 for direction in (first, second)]
    # In terms of costs: the more of one, the less of the other.
    points = [(signs[0] * x, signs[1] * 1 / x) for x in (1.0, 2.0, 4.0)]
    start = records_of(ended.oracle)[0]
    records = [
        replace(start, trial=str(i), objectives=dict(zip("ab", point, strict=True)))
        for i, point in enumerate(points)
    ]
    objectives = [
        keras_tuner.Objective(name, direction)
        for name, direction in zip("ab", (first, second), strict=True)
    ]
    figure = figures.draw_front(records, ["0", "1", "2"], objectives)
    (line,) = (line for line in figure.axes[0].lines if len(line.get_xdata()) > 1)
    x, y = line.get_data()
    shown = y[:-1] if line.get_drawstyle() == "steps-post" else y[1:]
    for place, value in zip((x[:-1] + x[1:]) / 2, shown, strict=True):
        reached = [b for a, b in points if signs[0] * a <= signs[0] * place]
        assert value == min(reached, key=lambda b: signs[1] * b)


def test_curves_of_what_has_diverged_leave_room_for_the_others(ended):
    from dataclasses import replace

    from keras_ext.tuner._records import records_of

    records = records_of(ended.oracle)
    wild = replace(records[3], curve=[(1, 1e9), (2, float("nan"))], status="failed")
    figure = figures.draw_curves([*records, wild], ended.oracle.objective)
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    values = [v for r in records for _, v in r.curve]
    assert low < min(values)
    assert np.median(values) < high < 100
    lines = {tuple(line.get_ydata()) for line in axes.lines}
    assert {tuple(v for _, v in r.curve) for r in records if r.curve} <= lines
    ended_by_dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert len(ended_by_dots) == sum(
        r.status == "stopped" or r.epochs == 1 for r in records
    )
