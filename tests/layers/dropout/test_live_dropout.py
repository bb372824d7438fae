import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.layers import LiveDropout

ONES = np.ones((200, 50), "float32")


def test_keeps_the_mean_and_drops_the_share():
    outputs = np.asarray(LiveDropout(0.25, seed=1)(ONES, training=True))
    # 10,000 inputs: a standard error of 0.0043.
    assert (outputs == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert set(np.unique(outputs)) == {0.0, np.float32(1 / 0.75)}


@pytest.mark.parametrize("training", [False, True])
def test_rate_zero_is_the_identity_to_the_bit(training):
    x = np.random.default_rng(0).normal(size=(50, 7)).astype("float32")
    x[0, 0], x[1, 1] = np.inf, np.nan
    np.testing.assert_array_equal(LiveDropout(0.0)(x, training=training), x)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_compiled_function_follows_the_rate(jit_compile):
    layer, traces = LiveDropout(0.0, seed=0), []

    @tf.function(jit_compile=jit_compile)
    def dropped(x):
        traces.append(1)
        return layer(x, training=True)

    layer.build((None, 50))
    shares = []
    for rate in (0.0, 0.5, 0.9):
        layer.rate = rate
        shares.append(float(np.mean(np.asarray(dropped(ONES)) == 0)))
    assert shares == pytest.approx([0.0, 0.5, 0.9], abs=0.03)
    assert len(traces) == 1


def test_dropped_inputs_get_no_gradient_even_if_infinite():
    layer = LiveDropout(0.5, seed=0)
    x = tf.Variable(np.full((1, 100), np.inf, "float32"))
    with tf.GradientTape() as tape:
        y = layer(x, training=True)
    gradient = tape.gradient(y, x).numpy()
    assert set(np.unique(gradient)) == {0.0, 2.0}
    np.testing.assert_array_equal(gradient == 0, y.numpy() == 0)


def test_noise_shape_drops_whole_axes():
    outputs = np.asarray(
        LiveDropout(0.5, noise_shape=(None, 1), seed=0)(ONES, training=True)
    )
    assert set(outputs.min(axis=1)) == {0.0, 2.0}
    np.testing.assert_array_equal(outputs.min(axis=1), outputs.max(axis=1))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_small_rates_survive_half_precision(policy):
    layer = LiveDropout(0.001, seed=0, dtype=policy)
    outputs = layer(np.ones((1000, 1000), "float32"), training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == policy[6:]
    # A million inputs: 1000 are expected, with a standard deviation of 32.
    assert int((np.asarray(outputs, "float32") == 0).sum()) == pytest.approx(
        1000, abs=150
    )


def test_saves_the_present_rate(tmp_path):
    model = keras.Sequential([keras.Input((4,)), LiveDropout(0.1, name="drop")])
    model.layers[0].rate = 0.4
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert float(loaded.layers[0].rate) == 0.4
    model.layers[0].rate = 0.7
    model.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")
    assert float(loaded.layers[0].rate) == 0.7


def test_config_round_trip():
    layer = LiveDropout(0.3, noise_shape=[None, 1], seed=7, name="drop")
    config = layer.get_config()
    again = LiveDropout.from_config(config)
    assert again.get_config() == config
    assert config["rate"] == 0.3
    assert config["noise_shape"] == (None, 1)


def test_passes_the_mask_on():
    model = keras.Sequential(
        [keras.layers.Masking(), LiveDropout(0.5), keras.layers.LSTM(2)]
    )
    x = np.ones((1, 3, 2), "float32")
    padded = np.concatenate([x, np.zeros((1, 2, 2), "float32")], axis=1)
    np.testing.assert_allclose(model(x), model(padded), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"rate": 1.0},
            r"`rate` must be a number in \[0, 0\.95\]\. Received: rate=1\.0",
        ),
        ({"rate": -0.1}, r"`rate` must be a number"),
        ({"rate": "high"}, r"Received: rate='high'"),
        ({"noise_shape": 3}, r"`noise_shape` must be a list of integers >= 1"),
        ({"noise_shape": (0,)}, r"`noise_shape` must be a list of integers >= 1"),
        ({"seed": 1.5}, r"`seed` must be an integer in"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LiveDropout(**{"rate": 0.5, **arguments})


def test_rejects_a_noise_shape_of_another_rank():
    with pytest.raises(ValueError, match="as long as the inputs have axes, 2"):
        LiveDropout(0.5, noise_shape=(None, 1, 1))(ONES, training=True)
