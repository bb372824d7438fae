import keras
import numpy as np
import pytest

from keras_ext.compression import EarlyExit, early_exit, to_litert
from tests.thorough import LONG

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 6, 6, 1)).astype("float32")
Y = (X.mean(axis=(1, 2, 3)) > 0).astype(int)


def convnet(end="softmax"):
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    side = layers.Conv2D(4, 3, padding="same", name="side")(x)
    x = layers.Add(name="sum")([x, side])
    x = layers.Conv2D(4, 3, activation="relu", name="second")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(inputs, layers.Dense(2, activation=end, name="last")(x))


@pytest.fixture(scope="module")
def exits():
    keras.utils.set_random_seed(0)
    made = early_exit(convnet(), ["norm", "sum"], threshold=[0.9, 0.95])
    loss = "sparse_categorical_crossentropy"
    made.compile(
        keras.optimizers.Adam(0.02), loss, metrics=["accuracy"], jit_compile=False
    )
    made.fit(X, Y, epochs=12, batch_size=16, verbose=0)
    return made


def test_each_row_leaves_at_the_first_head_that_is_sure(exits):
    heads = [np.array(y) for y in exits.branches(X, training=False)]
    outputs, left_at = exits.predict_early(X, batch_size=24)
    assert set(left_at) == {0, 1, 2}
    for row in range(len(X)):
        entropies = [-np.sum(h[row] * np.log2(h[row])) for h in heads]
        sure = [i for i, limit in enumerate((0.9, 0.95)) if entropies[i] < limit]
        expected = sure[0] if sure else 2
        assert left_at[row] == expected
        np.testing.assert_allclose(outputs[row], heads[expected][row], atol=1e-6)
    # The same within a graph, in other batches, and for a row alone.
    np.testing.assert_allclose(exits.predict(X, verbose=0), outputs, atol=1e-6)
    alone, exit_of_it = exits.predict_early(X[5:6])
    np.testing.assert_allclose(alone, outputs[5:6], atol=1e-6)
    assert exit_of_it == left_at[5]


def test_no_rows_give_no_rows(exits):
    outputs, left_at = exits.predict_early(X[:0])
    assert (outputs.shape, outputs.dtype) == ((0, 2), "float32")
    assert left_at.shape == (0,)


def test_rows_of_several_inputs_go_by_their_names():
    a, b = keras.Input((3,), name="z"), keras.Input((3,), name="a")
    cut = layers.Subtract(name="cut")([a, b])
    made = early_exit(keras.Model([a, b], layers.Dense(2)(cut)), ["cut"])
    made.threshold = 0.0
    x = RNG.normal(size=(2, 5, 3)).astype("float32")
    expected, _ = made.predict_early(list(x))
    np.testing.assert_allclose(expected, made(list(x)), atol=1e-6)
    found, _ = made.predict_early({"z": x[0], "a": x[1]})
    np.testing.assert_array_equal(found, expected)


def test_a_stage_computes_only_what_is_left(exits, monkeypatch):
    seen = []
    for stage in exits.stages:
        original = stage.call

        def call(x, *args, original=original, **kwargs):
            seen.append(len(x))
            return original(x, *args, **kwargs)

        monkeypatch.setattr(stage, "call", call)
    _, left_at = exits.predict_early(X, batch_size=64)
    assert seen == [64, np.sum(left_at > 0), np.sum(left_at > 1)]


def test_all_heads_learn(exits):
    for outputs in exits.branches(X, training=False):
        assert np.mean(np.argmax(outputs, axis=1) == Y) > 0.7
    assert exits.evaluate(X, Y, verbose=0)[1] > 0.7
    assert exits.losses == []


def test_the_loss_is_that_of_all_heads():
    made = early_exit(convnet("linear"), ["sum"], loss_weight=0.25)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    made.whole.get_layer("norm").trainable = False
    weights = RNG.random(64)
    history = made.fit(X, Y, sample_weight=weights, batch_size=64, verbose=0)
    first, last = made.branches(X, training=False)
    expected = loss(Y, last, sample_weight=weights)
    expected += 0.25 * loss(Y, first, sample_weight=weights)
    np.testing.assert_allclose(history.history["loss"][0], expected, rtol=1e-5)


def test_it_is_saved_and_its_thresholds_may_be_set(exits, tmp_path):
    exits.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert repr(loaded).startswith("<EarlyExit name=")
    assert isinstance(loaded, EarlyExit)
    np.testing.assert_allclose(loaded.threshold, [0.9, 0.95], rtol=1e-6)
    np.testing.assert_allclose(loaded(X), exits(X), atol=1e-6)
    loaded.threshold = 0.0
    assert set(loaded.predict_early(X)[1]) == {2}
    loaded.threshold = 1.0
    assert set(loaded.predict_early(X)[1]) == {0}


@pytest.mark.thorough(LONG)
def test_its_stages_are_models_of_their_own(exits, tmp_path):
    state = X
    for i, stage in enumerate(exits.stages):
        report = to_litert(stage, tmp_path / f"{i}.tflite", representative_data=state)
        assert report.max_difference < 1e-4
        state = stage(state, training=False)[0]


def test_rejects_layers_that_are_skipped_or_in_the_wrong_order():
    with pytest.raises(ValueError, match="layers through which all passes; what follo"):
        early_exit(convnet(), ["side"])
    with pytest.raises(ValueError, match="or is not after it"):
        early_exit(convnet(), ["second", "first"])
    with pytest.raises(ValueError, match="`layers` must be names of layers, of"):
        early_exit(convnet(), ["third"])
    with pytest.raises(ValueError, match="`threshold` must be a number in"):
        early_exit(convnet(), ["sum"], threshold=[0.1, 0.2])
