import keras
import numpy as np
import pytest

from keras_ext.compression import LiteRTFile, to_litert
from tests.thorough import LONG

layers = keras.layers
RNG = np.random.default_rng(0)
X = [RNG.normal(size=(5, 3)).astype("float32") * scale for scale in (1, 9)]


@pytest.mark.thorough(LONG)
def test_several_inputs_and_outputs_keep_their_order(tmp_path):
    first, second = keras.Input((3,)), keras.Input((2,))
    heads = [
        keras.layers.Dense(4)(first),
        keras.layers.Dense(1)(second),
        keras.layers.Dense(2)(keras.layers.Concatenate()([second, first])),
    ]
    model = keras.Model([first, second], heads)
    to_litert(model, tmp_path / "m.tflite")
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(5, n)).astype("float32") for n in (3, 2)]
    # In batches of several sizes.
    actual = LiteRTFile(tmp_path / "m.tflite").predict(x, batch_size=2)
    for y, expected in zip(actual, model(x), strict=True):
        np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.fixture(scope="module")
def difference(tmp_path_factory):
    """A file of named inputs whose order is not that of the names, or of their making.

    It gives as many outputs as have two digits.
    """
    b, a = keras.Input((3,), name="in_2"), keras.Input((3,), name="in_10")
    outputs = [layers.Rescaling(k)(layers.Subtract()([a, b])) for k in range(1, 12)]
    model = keras.Model([a, b], outputs)
    path = tmp_path_factory.mktemp("files") / "m.tflite"
    to_litert(model, path)
    return LiteRTFile(path), path


def test_inputs_and_outputs_are_those_of_the_model_by_name(difference):
    file, _ = difference
    assert file.input_names == ["in_10", "in_2"]
    assert "m.tflite" in repr(file)
    for x in (X, {"in_2": X[1], "in_10": X[0]}):
        found = file.predict(x)
        for k, y in enumerate(found, start=1):
            np.testing.assert_allclose(y, k * (X[0] - X[1]), rtol=1e-5, atol=1e-5)


def test_no_rows_give_no_rows_of_the_right_kind(difference):
    found = difference[0].predict([x[:0] for x in X])
    assert [(y.shape, y.dtype) for y in found] == [((0, 3), "float32")] * 11


@pytest.mark.parametrize(
    "x",
    [X[0], [X[0], X[1][:2]], {"in_2": X[1]}, [X[0], np.ones((5, 4), "float32")]],
    ids=["one", "fewer rows", "a name missing", "wide"],
)
def test_what_does_not_fit_is_refused(difference, x):
    message = r"`x` must be as many rows for each input, of the shapes \{'in_10'"
    with pytest.raises(ValueError, match=message):
        difference[0].predict(x)


def test_a_file_that_does_not_know_the_order_is_asked_by_name(difference, tmp_path):
    content = difference[1].read_bytes()
    (tmp_path / "m.tflite").write_bytes(content[: content.rindex(b"PK\x03\x04")])
    file = LiteRTFile(tmp_path / "m.tflite")
    with pytest.raises(ValueError, match=r"`x` must be a dictionary with arrays for"):
        file.predict(X)
    found = file.predict({"in_2": X[1], "in_10": X[0]})
    np.testing.assert_allclose(found[0], X[0] - X[1], rtol=1e-6)


def test_a_dictionary_comes_and_goes(tmp_path):
    a, b = keras.Input((3,), name="z"), keras.Input((3,), name="a")
    parts = {"sub": layers.Subtract()([a, b]), "mul": layers.Multiply()([a, b])}
    model = keras.Model({"z": a, "a": b}, parts)
    x = {"z": X[0], "a": X[1]}
    report = to_litert(model, tmp_path / "m.tflite", mode="int8", representative_data=x)
    # In the order of others, the ranges would be those of the other input.
    step = 2 * np.abs(X[0]).max() * np.abs(X[1]).max() / 255
    assert report.max_difference < 3 * step
    found = LiteRTFile(tmp_path / "m.tflite").predict(x)
    assert sorted(found) == ["mul", "sub"]
    np.testing.assert_allclose(found["sub"], X[0] - X[1], atol=3 * step)


def test_rejects_what_is_not_there():
    with pytest.raises(ValueError, match=r"`path` must be a \.tflite file"):
        LiteRTFile("nowhere.tflite")


def test_a_single_output_is_an_array_whatever_its_name(tmp_path):
    """Other converters name it after a layer."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, {"named": layers.ReLU()(inputs)})
    to_litert(model, tmp_path / "m.tflite")
    file = LiteRTFile(tmp_path / "m.tflite")
    assert file.output_names == ["named"]
    np.testing.assert_allclose(file.predict(X[0]), np.maximum(X[0], 0), atol=1e-6)
