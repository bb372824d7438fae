import matplotlib as mpl
import numpy as np
import pytest

from keras_ext.callbacks.regularization._regularization_plot import draw

mpl.use("agg")


def decisions(**more):
    return [
        {
            "epoch": epoch,
            "training_loss": 1.0 / (1 + epoch),
            "validation_loss": 2.0,
            "gap": 0.1 * epoch,
            "strength": 0.5,
            "values": {"a$b/rate": 0.2, "optimizer/weight_decay": 10.0**-epoch},
            **more,
        }
        for epoch in range(3)
    ]


def test_what_was_sensed_and_done_is_drawn_by_epoch(tmp_path):
    figure = draw(decisions())
    losses, gaps, values = figure.axes
    drawn = {line.get_label(): line.get_ydata() for line in losses.lines}
    np.testing.assert_allclose(drawn["training"], [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(drawn["validation"], [2, 2, 2])
    np.testing.assert_allclose(gaps.lines[0].get_ydata(), [0, 0.1, 0.2])
    np.testing.assert_allclose(values.lines[1].get_ydata(), [1, 0.1, 0.01])
    for line in (*losses.lines, *gaps.lines, *values.lines):
        assert list(line.get_xdata()) == [1, 2, 3]
    # A dollar sign is none of a formula.
    figure.savefig(tmp_path / "figure.png")


@pytest.mark.parametrize(("more", "style"), [({}, "-"), ({"member": 0}, "None")])
def test_members_of_a_population_are_no_line(more, style):
    assert draw(decisions(**more)).axes[0].lines[0].get_linestyle() == style
