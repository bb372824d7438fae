import keras
import numpy as np
import pytest

from keras_ext.compression import LiteRTFile, SoftTargets, compress
from keras_ext.compression._compress import _what_to_learn
from tests.thorough import TRAININGS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(256, 12)).astype("float32")
Y = np.argmax(X[:, :3], axis=1)


def trained(loss="sparse_categorical_crossentropy", end="softmax", y=Y, epochs=10):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(32, "relu", name="hidden"),
            keras.layers.Dense(3, end, name="last"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    model.fit(X, y, epochs=epochs, verbose=0)
    return model


def test_makes_a_small_file_that_is_as_right_and_keeps_zeros(tmp_path, capsys):
    model, path = trained(), tmp_path / "m.tflite"
    before = model.get_weights()
    small = compress(model, path, x=X, y=Y, sparsity=0.75, exclude="last", epochs=6)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.get_layer("hidden").trainable
    assert small.pruned.sparsity == pytest.approx(0.75, abs=0.01)
    assert small.pruned.skipped == {"last/kernel": "it is not selected"}
    first, plain, file = small.sizes.rows
    assert first.name == "before"
    assert file.accuracy >= first.accuracy - 0.05
    assert plain.num_gzip_bytes < 0.6 * first.num_gzip_bytes
    assert file.num_gzip_bytes < 0.8 * first.num_gzip_bytes
    predicted = LiteRTFile(path).predict(X)
    agreed = np.argmax(predicted, 1) == np.argmax(small.model(X), 1)
    assert np.mean(agreed) > 0.97
    lines = capsys.readouterr().out.splitlines()
    steps = [line.split(": ")[1].split()[0] for line in lines if "compress:" in line]
    assert steps == ["pruned", "trained", "written"]
    assert any("FLOPs a row" in line for line in lines)


@pytest.mark.thorough(TRAININGS)
def test_clusters_are_kept_too(tmp_path):
    model, path = trained(), tmp_path / "m.tflite"
    small = compress(
        model, path, x=X, y=Y, sparsity=0.5, clusters=8, epochs=3, verbose=0
    )
    assert all(row.values <= 9 for row in small.pruned.rows)
    assert small.pruned.sparsity == pytest.approx(0.5, abs=0.02)


@pytest.mark.thorough(TRAININGS)
def test_learns_numbers_and_writes_floats(tmp_path):
    y = X[:, :3] * 2
    model, path = trained("mse", "linear", y), tmp_path / "m.tflite"
    small = compress(
        model,
        path,
        x=X,
        y=y,
        validation_data=(X[:9], y[:9]),
        mode="float16",
        epochs=3,
        verbose=0,
    )
    assert small.file.mode == "float16"
    assert small.sizes.rows[0].accuracy is None


@pytest.mark.thorough(TRAININGS)
def test_several_inputs_go_by_their_names(tmp_path):
    keras.utils.set_random_seed(0)
    # Of one shape: only the names tell them apart.
    a, b = keras.Input((6,), name="z"), keras.Input((6,), name="a")
    hidden = keras.layers.Dense(16, "relu")(keras.layers.Subtract()([a, b]))
    end = keras.layers.Dense(3, "softmax", name="last")(hidden)
    model = keras.Model({"a": b, "z": a}, end)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    x = {"z": X[:, :6], "a": 5 * X[:, 6:]}
    y = np.argmax((x["z"] - x["a"])[:, :3], axis=1)
    model.fit(x, y, epochs=20, verbose=0)
    path = tmp_path / "m.tflite"
    small = compress(
        model, path, x=x, y=y, validation_data=(x, y), sparsity=0.3, epochs=3, verbose=0
    )
    before, plain, file = small.sizes.rows
    assert before.accuracy > 0.85
    assert plain.accuracy > before.accuracy - 0.05
    assert file.accuracy == pytest.approx(plain.accuracy, abs=0.02)
    assert small.file.agreement > 0.95


@pytest.mark.thorough(TRAININGS)
def test_mixed_precision_is_compressed(tmp_path):
    own = {"dtype": "mixed_float16"}
    hidden = keras.layers.Dense(16, "relu", **own)
    end = keras.layers.Dense(3, "softmax", **own)
    model = keras.Sequential([keras.Input((12,)), hidden, end])
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    small = compress(model, tmp_path / "m.tflite", x=X, y=Y, epochs=3, verbose=0)
    assert small.model.layers[-1].compute_dtype == "float16"
    assert small.file.agreement > 0.95


def test_refuses_before_it_trains(tmp_path):
    model = keras.Sequential([keras.Input((9, 2)), keras.layers.LSTM(2)])
    path = tmp_path / "m.tflite"
    data = {"x": np.ones((8, 9, 2)), "y": np.ones(8)}
    with pytest.raises(ValueError, match="`model` must be a compiled model with a"):
        compress(model, path, **data)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="without layers that are not known here"):
        compress(model, path, **data)
    with pytest.raises(ValueError, match="`path` must be a path that ends with"):
        compress(model, "m.keras", **data)
    with pytest.raises(ValueError, match="`y` must be an array with 8 rows"):
        compress(model, path, x=data["x"], y=np.ones(3))


def several(end):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12,))
    x = keras.layers.Dense(32, "relu", name="hidden")(inputs)
    ends = [keras.layers.Dense(3, end, name="c")(x), keras.layers.Dense(1, name="r")(x)]
    return keras.Model(inputs, ends)


@pytest.mark.thorough(TRAININGS)
def test_several_outputs_learn_each_in_its_way(tmp_path):
    model, path = several("softmax"), tmp_path / "m.tflite"
    losses = {"c": "sparse_categorical_crossentropy", "r": "mse"}
    adam = keras.optimizers.Adam(0.01)
    model.compile(adam, losses, loss_weights={"c": 1.0, "r": 0.1}, jit_compile=False)
    y = [Y, X[:, 3:4] - X[:, 4:5]]
    model.fit(X, y, epochs=10, verbose=0)
    small = compress(model, path, x=X, y=y, sparsity=0.5, epochs=3, verbose=0)
    assert small.pruned.sparsity == pytest.approx(0.5, abs=0.01)
    for outputs in (model(X), LiteRTFile(path).predict(X)):
        classes, numbers = outputs
        assert np.mean(np.argmax(classes, -1) == Y) > 0.9
        assert np.corrcoef(np.ravel(numbers), np.ravel(y[1]))[0, 1] > 0.9


def test_each_output_is_learned_by_its_loss():
    model = several("softmax")
    model.compile("sgd", ["sparse_categorical_crossentropy", "mse"])
    lesson = _what_to_learn(model)
    teacher = keras.models.clone_model(model)
    lesson.validate_model_compatibility(teacher, model)
    given = [teacher(X), model(X)]
    classes, numbers = zip(*given, strict=True)
    expected = float(SoftTargets(from_logits=False).compute_loss(*classes))
    expected += np.mean(np.square(numbers[0] - numbers[1]))
    assert float(lesson.compute_loss(*given)) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="`y` must be 2 arrays with 256 rows"):
        compress(model, "m.tflite", x=X, y=Y)


@pytest.mark.thorough(TRAININGS)
def test_updates_are_counted_and_not_batches(tmp_path):
    model = trained()
    adam = keras.optimizers.Adam(0.01, gradient_accumulation_steps=4)
    model.compile(adam, "sparse_categorical_crossentropy", jit_compile=False)
    options = {"sparsity": 0.75, "epochs": 6, "verbose": 0}
    small = compress(model, tmp_path / "m.tflite", x=X, y=Y, **options)
    assert small.pruned.sparsity == pytest.approx(0.75, abs=0.01)


@pytest.mark.thorough(TRAININGS)
def test_clusters_do_not_count_zero_where_there_is_none(tmp_path):
    options = {"sparsity": 0.0, "clusters": 4, "epochs": 3, "verbose": 0}
    small = compress(trained(), tmp_path / "m.tflite", x=X, y=Y, **options)
    assert [row.values for row in small.pruned.rows] == [4, 4]


@pytest.mark.thorough(TRAININGS)
def test_models_inside_keep_their_zeros(tmp_path):
    keras.utils.set_random_seed(0)
    first = keras.layers.Dense(32, "relu", name="last")
    base = keras.Sequential([keras.Input((12,)), first], name="base")
    last = keras.layers.Dense(3, "softmax", name="last")
    model = keras.Sequential([keras.Input((12,)), base, last])
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    model.fit(X, Y, epochs=5, verbose=0)
    options = {"sparsity": 0.75, "exclude": "^last/", "epochs": 3, "verbose": 0}
    small = compress(model, tmp_path / "m.tflite", x=X, y=Y, **options)
    assert small.pruned.sparsity == pytest.approx(0.75, abs=0.01)
    assert small.pruned.skipped == {"last/kernel": "it is not selected"}
