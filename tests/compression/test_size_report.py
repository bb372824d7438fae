import gzip

import keras
import numpy as np
import pytest

from keras_ext.compression import prune, size_report, to_litert
from keras_ext.compression._size_report import SizeReport, SizeRow


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "m.tflite"
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(40)])
    prune(model, 0.9)
    to_litert(model, path)
    x = np.random.default_rng(0).normal(size=(20, 8)).astype("float32")
    y = keras.ops.convert_to_numpy(model(x)).argmax(-1)
    y[:5] = -1
    return size_report(model, files={"a<b": path}, x=x, y=y, repeats=3), model, path


def test_counts_bytes_and_zeros(report):
    sizes, model, path = report
    assert (sizes.num_parameters, sizes.num_zeros) == (360, 288 + 40)
    keras_row, file_row = sizes.rows
    assert keras_row.num_bytes == 4 * 360
    assert file_row.num_bytes == len(path.read_bytes())
    packed = len(gzip.compress(path.read_bytes(), 9))
    assert file_row.num_gzip_bytes == pytest.approx(packed, abs=20)


def test_measures_accuracy_and_time(report):
    for row in report[0].rows:
        assert row.accuracy == 0.75
        assert row.milliseconds > 0
        assert row.spread >= 0


def test_is_a_table_a_picture_and_a_page(report, tmp_path):
    first, head, *rows = str(report[0]).splitlines()
    assert first == "360 parameters, 328 zeros, 640 FLOPs a row"
    assert head.split() == ["form", "bytes", "gzip", "ms", "a", "row", "accuracy"]
    assert [row.split()[0] for row in rows] == ["Keras", "a<b"]
    (axes,) = report[0].plot().axes
    widths = [bar.get_width() for bar in axes.patches]
    sizes = [r.num_bytes for r in report[0].rows]
    packed = [r.num_gzip_bytes for r in report[0].rows]
    np.testing.assert_allclose(widths, np.divide([*sizes, *packed], 1000))
    assert "75.0% right" in [text.get_text() for text in axes.texts][-1]
    report[0].save(tmp_path / "sizes.html", title="My <model>")
    page = (tmp_path / "sizes.html").read_text()
    assert "<h1>My &lt;model&gt;</h1>" in page
    assert "<td>a&lt;b</td>" in page
    assert "data:image/png;base64," in page


def test_compares_with_the_model_before(report):
    sizes, model, _ = report
    other = keras.Sequential([keras.Input((8,)), keras.layers.Dense(10)])
    compared = size_report(model, before=other)
    assert [row.name for row in compared.rows] == ["before", "Keras float"]
    assert compared.rows[0].num_bytes == 4 * 90
    assert compared.num_parameters == sizes.num_parameters


@pytest.mark.parametrize("form", [list, dict])
def test_several_inputs_and_outputs_are_measured(form, tmp_path):
    a, b = keras.Input((3,), name="z"), keras.Input((3,), name="a")
    end = keras.layers.Dense(2, name="end")(keras.layers.Subtract()([a, b]))
    inputs = {"z": a, "a": b} if form is dict else [a, b]
    model = keras.Model(inputs, end)
    x = np.random.default_rng(0).normal(size=(2, 9, 3)).astype("float32")
    rows = {"z": x[0], "a": x[1]} if form is dict else list(x)
    y = keras.ops.convert_to_numpy(model(rows)).argmax(-1)
    path = tmp_path / "m.tflite"
    to_litert(model, path)
    sizes = size_report(model, files={"file": path}, x=rows, y=y, repeats=3)
    assert [row.accuracy for row in sizes.rows] == [1.0, 1.0]
    assert sizes.num_flops == 2 * 3 * 2
    two = keras.Model(inputs, {"end": end, "sum": keras.layers.Add()([a, b])})
    assert size_report(two, x=rows, repeats=3).rows[0].milliseconds > 0


def test_without_rows_nothing_is_measured(report):
    sizes = size_report(report[1])
    assert str(sizes).splitlines()[1].split() == ["form", "bytes", "gzip"]


def test_the_accuracy_stands_at_one_bar_of_sizes_that_are_equal():
    row = SizeRow("same", 100, 100, 1.0, 0.0, 0.5)
    (axes,) = SizeReport(1, 0, [row]).plot().axes
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["0.1", "0.1, 50.0% right"]


@pytest.mark.parametrize("end", ["sigmoid", None])
def test_a_single_output_answers_with_0_or_1(end, tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, end)])
    model.set_weights([np.array([[1.0]]), np.array([0.2])])
    to_litert(model, tmp_path / "m.tflite")
    # Logits of -0.8, -0.1, 0.1 and 1.2, of which the third is no probability above 0.5.
    x, y = np.float32([[-1.0], [-0.3], [-0.1], [1.0]]), np.array([[0], [1], [1], [1]])
    files = {"file": tmp_path / "m.tflite"}
    sizes = size_report(model, files=files, x=x, y=y, repeats=3)
    assert [row.accuracy for row in sizes.rows] == [0.75, 0.75]
    with pytest.raises(ValueError, match="nor a single number for labels of 0 and 1"):
        size_report(model, x=x, y=y + 1, repeats=3)


def test_rejects_rows_that_do_not_fit(report):
    with pytest.raises(ValueError, match=r"`x` must be an array with rows, several"):
        size_report(report[1], x=[np.ones((3, 8)), np.ones((2, 8))])


def test_rejects_labels_that_do_not_fit(report):
    with pytest.raises(ValueError, match=r"`y` must be a vector with an integer for"):
        size_report(report[1], x=np.ones((3, 8)), y=np.ones(2))


def test_many_rows_are_run_in_batches():
    calls = []

    class Model(keras.Model):
        def call(self, x):
            calls.append(len(x))
            return x

    model = Model()
    x = np.eye(75, 3, dtype="float32")
    model(x[:1])
    calls.clear()
    sizes = size_report(model, x=x, y=x.argmax(-1), repeats=3)
    assert sizes.rows[0].accuracy == 1.0
    assert max(calls) == 32
    assert calls[-3:] == [32, 32, 11]
