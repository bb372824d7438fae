import keras
import numpy as np
import pytest

from keras_ext.compression import low_rank

layers = keras.layers


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_a_kernel_of_low_rank_is_replaced_exactly():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    conv = layers.Conv2D(
        16, 3, strides=2, padding="same", activation="relu", name="conv"
    )
    norm = layers.BatchNormalization(name="norm")
    dense = layers.Dense(24, activation="tanh", name="dense")
    x = layers.Flatten()(norm(conv(x)))
    model = keras.Model(inputs, [dense(x), layers.Dense(2, name="tiny")(x)])
    conv.kernel.assign((numbers(27, 2) @ numbers(2, 16)).reshape(3, 3, 3, 16))
    conv.bias.assign(numbers(16))
    dense.kernel.assign(numbers(256, 3) @ numbers(3, 24) / 100)
    small, ranks = low_rank(model, energy=1.0)
    assert ranks == {
        "conv": 2,
        "dense": 3,
        "tiny": "its rank of 2 would take as many parameters",
    }
    image = numbers(5, 8, 8, 3)
    for y, expected in zip(small(image), model(image), strict=True):
        np.testing.assert_allclose(y, expected, atol=1e-4)
    fewer = (432 - 2 * (27 + 16)) + (256 * 24 - 3 * (256 + 24))
    assert model.count_params() - small.count_params() == fewer


def test_what_was_made_can_be_made_smaller():
    model = keras.Sequential([keras.Input((64,)), layers.Dense(64, name="wide")])
    first, _ = low_rank(model, energy=0.6)
    second, ranks = low_rank(first, energy=0.3)
    assert {type(rank) for rank in ranks.values()} == {int}
    names = [layer.name for layer in second.layers[1:]]
    assert len(set(names)) == 4
    assert second(numbers(3, 64)).shape == (3, 64)


def test_what_is_left_out_is_the_energy_that_was_allowed():
    dense = layers.Dense(40, use_bias=False, name="dense")
    model = keras.Sequential([keras.Input((60,)), dense])
    dense.kernel.assign(numbers(60, 40) * np.geomspace(1, 1e-3, 40))
    small, ranks = low_rank(model, energy=0.95)
    product = np.array(small(np.eye(60)))
    kernel = np.array(dense.kernel)
    lost = np.square(product - kernel).sum() / np.square(kernel).sum()
    assert 0 < lost <= 0.05
    # One less would not have done.
    values = np.linalg.svd(kernel, compute_uv=False)
    energies = np.cumsum(values**2) / np.sum(values**2)
    assert energies[ranks["dense"] - 2] < 0.95


def test_it_trains_and_is_saved(tmp_path):
    dense = layers.Dense(30, kernel_regularizer="l2", name="dense")
    model = keras.Sequential([keras.Input((30,)), dense, layers.Dense(1, name="head")])
    small, _ = low_rank(model, energy=0.5, include="dense")
    assert len(small.losses) == 2
    small.compile("sgd", "mse")
    x = numbers(16, 30)
    small.fit(x, x[:, :1], epochs=1, verbose=0)
    small.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded(x), small(x), atol=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"kernel_constraint": "non_neg"}, "its kernel has a constraint"),
        ({"groups": 2}, "it has groups"),
    ],
)
def test_what_does_not_fit_is_left_alone_with_the_reason(kwargs, reason):
    conv = layers.Conv1D(8, 3, name="conv", **kwargs)
    model = keras.Sequential([keras.Input((9, 4)), conv])
    same, report = low_rank(model)
    assert report == {"conv": reason}
    x = numbers(2, 9, 4)
    np.testing.assert_allclose(same(x), model(x), atol=1e-6)


def test_rejects_a_model_without_such_layers():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense")])
    with pytest.raises(ValueError, match=r"some layer is left of \['dense'\]"):
        low_rank(model, include="conv")


def test_tucker_puts_a_window_between_few_channels():
    inputs = keras.Input((7, 6, 10))
    conv = layers.Conv2D(
        12, 3, strides=2, padding="same", activation="relu", name="conv"
    )
    wide = layers.Conv1D(8, 3, padding="causal", dilation_rate=2, name="wide")
    x = layers.Reshape((12, 12))(conv(inputs))
    head = layers.Dense(3, name="head")
    model = keras.Model(inputs, head(wide(x)))
    core = numbers(3, 3, 2, 3)
    kernel = np.einsum("hwrs,ir,os->hwio", core, numbers(10, 2), numbers(12, 3))
    conv.kernel.assign(kernel / 10)
    conv.bias.assign(numbers(12))
    wide.kernel.assign(
        np.einsum("hrs,ir,os->hio", core[0], numbers(12, 2), numbers(8, 3))
    )
    small, ranks = low_rank(model, energy=1.0, method="tucker")
    assert ranks["conv"] == (2, 3)
    assert ranks["wide"] == (2, 3)
    images = numbers(4, 7, 6, 10)
    np.testing.assert_allclose(small(images), model(images), atol=2e-3)
    fewer = (9 * 120 - (20 + 54 + 36)) + (3 * 96 - (24 + 18 + 24))
    assert model.count_params() - small.count_params() == fewer


def test_tucker_leaves_the_energy_that_was_asked_for():
    conv = layers.Conv2D(24, 3, use_bias=False, name="conv")
    model = keras.Sequential([keras.Input((3, 3, 20)), conv])
    decay = np.geomspace(1, 1e-3, 20)[:, None] * np.geomspace(1, 1e-3, 24)
    conv.kernel.assign(numbers(3, 3, 20, 24) * decay)
    small, ranks = low_rank(model, energy=0.9, method="tucker")
    assert max(ranks["conv"]) < 12
    # With the rows of the identity the layers give their product.
    rows = np.eye(180).reshape(180, 3, 3, 20)
    found, kernel = np.array(small(rows)), np.array(model(rows))
    lost = np.square(found - kernel).sum() / np.square(kernel).sum()
    assert 0 < lost <= 0.1
