"""Perceptrons, and how many parameters they have."""

import keras
import numpy as np
import pytest

from keras_ext.tuner.spaces import mlp
from keras_ext.tuner.spaces._widths import SHAPES
from tests.thorough import thorough_but

BUDGET = 3000
ALL = mlp(
    (3, 4),
    5,
    depth=(1, 5),
    widths=list(SHAPES),
    parameter_budget=(1000, BUDGET),
    activation=["relu", "selu", "tanh"],
    initializer=["auto", "orthogonal"],
    normalization=["none", "batch", "layer", "rms"],
    residual=[False, True],
    dropout=["none", "plain", "gaussian", "alpha", "uniform"],
)


@pytest.mark.parametrize("seed", thorough_but(range(4), range(40)))
def test_parameters_are_within_the_budget_and_counted_right(seed, drawn, num_trained):
    hp = drawn(ALL, seed)
    model = ALL(hp)
    values = ALL._read(hp)
    budget, widths = values["budget"], ALL.widths(hp)
    dense = [w for w in model.trainable_weights if w.path.endswith("kernel")]
    assert len(widths) == values["depth"] <= len(dense) - 1
    assert 0.8 * budget < num_trained(model) <= budget
    # One unit more everywhere is too many.
    assert ALL._count(values, [w + 1 for w in widths]) > budget
    assert ALL._count(values, widths) == num_trained(model)
    outputs = model(np.ones((2, 3, 4), "float32"), training=True)
    assert outputs.shape == (2, 5)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_compared_at_the_same_number_of_parameters(shape, drawn):
    space = mlp(
        (64,),
        10,
        depth=4,
        widths=shape,
        ratio=6.0,
        parameter_budget=20_000,
        normalization="none",
    )
    hp = drawn(space, 0)
    widths = space.widths(hp)
    sizes = [64, *widths, 10]
    found = sum((a + 1) * b for a, b in zip(sizes, sizes[1:], strict=False))
    assert 0.99 * 20_000 < found <= 20_000
    if shape != "free":
        assert max(widths) / min(widths) == pytest.approx(
            1.0 if shape == "equal" else 6.0, rel=0.05
        )


def test_what_is_one_value_is_not_searched_and_the_model_is_that(drawn):
    space = mlp(
        (2,),
        1,
        depth=2,
        width=8,
        normalization="layer",
        dropout="drop_path",
        dropout_rate=0.3,
        residual=True,
        output_activation="sigmoid",
    )
    hp = drawn(space, 0)
    assert hp.space == []
    model = space(hp)
    kinds = [type(layer).__name__ for layer in model.layers]
    hidden = ["Dense", "LayerNormalization", "Activation"]
    # No way leads past the first layer, which is never dropped.
    assert kinds == ["InputLayer", *hidden, *hidden, "DropPath", "Add", "Dense"]
    assert model.layers[-1].activation is keras.activations.sigmoid
    assert isinstance(model.layers[1].kernel_initializer, keras.initializers.HeNormal)
    copied = keras.Model.from_config(model.get_config())
    assert copied.count_params() == model.count_params()


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`dropout` must be without drop_path"):
        mlp((2,), 1, dropout="drop_path", residual=[False, True])
    with pytest.raises(ValueError, match="`input_shape` must be a tuple of integers"):
        mlp((), 1)
    with pytest.raises(ValueError, match="`outputs` must be an integer >= 1"):
        mlp((2,), 0)
    with pytest.raises(ValueError, match="Unknown|Could not interpret"):
        mlp((2,), 1, output_activation="no such")
