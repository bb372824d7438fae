import keras
import numpy as np
import pytest

from keras_ext._anatomy._input_rows import (
    as_model_takes,
    has_shape,
    input_names,
    input_rows,
)

FIRST, SECOND = np.zeros((4, 3)), np.ones((4, 3))


def model_of(structure):
    """The difference of two inputs, of which the first comes later in the alphabet."""
    a, b = keras.Input((3,), name="z"), keras.Input((3,), name="a")
    inputs = {"list": [a, b], "dict": {"z": a, "a": b}, "nested": [a, {"x": b}]}
    return keras.Model(inputs[structure], keras.layers.Subtract()([a, b]))


@pytest.mark.parametrize(
    ("structure", "x"),
    [
        ("list", [FIRST, SECOND]),
        ("list", {"a": SECOND, "z": FIRST, "other": FIRST}),
        ("dict", {"a": SECOND, "z": FIRST}),
        ("nested", [FIRST, {"x": SECOND}]),
        ("nested", {"z": FIRST, "a": SECOND}),
    ],
)
def test_each_input_gets_its_rows(structure, x):
    model = model_of(structure)
    rows = input_rows(model, x, "x")
    found = {name: r[0, 0] for name, r in zip(input_names(model), rows, strict=True)}
    assert found == {"z": 0.0, "a": 1.0}
    np.testing.assert_array_equal(model(as_model_takes(model, rows)), -SECOND)


def test_one_input_takes_what_is_like_an_array():
    model = keras.Sequential([keras.Input((2,)), keras.layers.ReLU()])
    for x in (FIRST[:, :2], [FIRST[:, :2]]):
        rows = input_rows(model, x, "x")
        assert [r.shape for r in rows] == [(4, 2)]
        assert as_model_takes(model, rows).shape == (4, 2)


@pytest.mark.parametrize("x", [[FIRST], [FIRST, SECOND[:2]], FIRST, {"z": FIRST}])
def test_other_rows_are_refused(x):
    message = r"`x` must be 2 arrays with rows, .* for the inputs \['z', 'a'\]"
    with pytest.raises(ValueError, match=message):
        input_rows(model_of("list"), x, "x")


def test_a_shape_has_places_for_any_length():
    assert has_shape(FIRST, (None, 3))
    assert not has_shape(FIRST, (None, 2))
    assert not has_shape(FIRST, (None, 3, None))
