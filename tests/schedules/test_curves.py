from keras_ext.schedules._curves import draw


def test_draws_long_ones_from_end_to_end():
    (axes,) = draw({"": lambda step: 0.5 * step, "b": lambda step: 0.0}, 10**6).axes
    shown = axes.lines[0].get_xdata()
    assert shown[[0, -1]].tolist() == [0, 999_999]
    assert axes.lines[0].get_ydata()[-1] == 499_999.5
    assert len(shown) <= 300


def test_what_has_no_name_needs_no_legend():
    assert draw({"": float}, 5).axes[0].get_legend() is None
