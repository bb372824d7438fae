import matplotlib as mpl
import numpy as np
import pytest

from keras_ext.callbacks.gradients._gradient_plot import draw

mpl.use("agg")


def history(layers, updates=3):
    norms = np.full((updates, layers), 10.0)
    norms[0, 0] = 0.0
    norms[1, 0] = np.nan
    ratios = np.full((updates, layers), 1e-3)
    ratios[0, 0] = 0.0
    return {
        "update": np.arange(updates) * 5,
        "layers": [f"layer_${i}" for i in range(layers)],
        "per_layer": {"gradient_norm": norms, "update_ratio": ratios},
        "global": {"update_ratio": np.full(updates, 2e-3)},
    }


def test_zero_and_what_is_not_finite_have_no_color(tmp_path):
    figure = draw(history(2))
    upper, lower = figure.axes[:2]
    (mesh,) = upper.collections
    drawn = np.ma.filled(mesh.get_array(), np.nan).reshape(2, 3)
    np.testing.assert_array_equal(drawn, [[np.nan, np.nan, 1], [1, 1, 1]])
    first, last, whole, _ = lower.lines
    np.testing.assert_array_equal(first.get_ydata(), [np.nan, 1e-3, 1e-3])
    np.testing.assert_array_equal(whole.get_ydata(), [2e-3] * 3)
    assert last.get_label() == r"layer_\$1"
    figure.savefig(tmp_path / "figure.png")


@pytest.mark.parametrize(("layers", "labels"), [(25, 25), (26, 13), (200, 25)])
def test_names_of_many_layers_are_thinned_out(layers, labels):
    upper, lower = draw(history(layers)).axes[:2]
    assert len(upper.get_yticklabels()) == labels
    named = [text.get_text() for text in lower.get_legend().get_texts()]
    assert named == [r"layer_\$0", rf"layer_\${layers - 1}", "all layers"]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["m/a", "m/b"], ["a", "b"]),
        (["m/a", "m/block/b"], ["a", "block/b"]),
        (["m/block/a", "m/block_2/b"], ["block/a", "block_2/b"]),
        (["m/only"], ["only"]),
    ],
)
def test_layers_are_named_without_the_model_that_holds_them_all(names, shown):
    axes = draw({**history(len(names)), "layers": names}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == shown
