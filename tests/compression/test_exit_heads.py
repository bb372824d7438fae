import keras
import numpy as np

from keras_ext.compression._exit_heads import as_loss, head_of, stages_of

layers = keras.layers


def test_a_head_averages_over_all_places():
    cut = keras.Input((4, 5, 3))
    head = head_of(cut, "block", 2, "softmax")
    x = np.random.default_rng(0).normal(size=(6, 4, 5, 3)).astype("float32")
    dense = head.get_layer("block_classes")
    expected = keras.ops.softmax(x.mean(axis=(1, 2)) @ dense.kernel)
    np.testing.assert_allclose(head(x), expected, atol=1e-6)
    # Of what has no places it takes the entries.
    assert len(head_of(keras.Input((3,)), "block", 2, "").layers) == 2


def test_a_function_of_rows_is_a_loss_that_takes_weights():
    y, p, w = np.zeros(4), np.arange(4.0), np.array([1.0, 0, 0, 3])
    loss = as_loss("mse")
    found = loss(y[:, None], p[:, None], sample_weight=w)
    np.testing.assert_allclose(found, (0 + 3 * 9) / 4)
    own = keras.losses.MeanAbsoluteError()
    assert as_loss(own) is own


def test_stages_follow_one_another():
    inputs = keras.Input((3,))
    cut = layers.Dense(4, name="cut")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(cut))
    head = head_of(cut, "cut", 2, "")
    first, last = stages_of(model, ["cut"], [cut], [head(cut)])
    x = np.ones((2, 3))
    features, early = first(x)
    np.testing.assert_allclose(early, head(features), atol=1e-6)
    np.testing.assert_allclose(last(features), model(x), atol=1e-6)
