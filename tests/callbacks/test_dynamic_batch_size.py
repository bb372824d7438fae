import keras
import numpy as np
import pytest

from keras_ext.callbacks import DynamicBatchSize

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 4)).astype("float32")
Y = RNG.normal(size=(96, 1)).astype("float32")


def make_model(rate=0.05):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), "mse")
    return model


def test_is_the_large_batch_in_the_later_epochs():
    grown, split = make_model(), make_model()
    history = grown.fit(
        X,
        Y,
        batch_size=8,
        epochs=4,
        shuffle=False,
        callbacks=[DynamicBatchSize([(1, 2), (3, 4)], batch_size=8)],
        verbose=0,
    )
    assert history.history["batch_size"] == [8, 16, 16, 32]
    for size, epochs in ((8, 1), (16, 2), (32, 1)):
        split.fit(X, Y, batch_size=size, epochs=epochs, shuffle=False, verbose=0)
    np.testing.assert_allclose(*[m.get_weights()[0] for m in (grown, split)], atol=1e-6)
    assert int(grown.optimizer.iterations) == 12 + 6 + 6 + 3


def test_batches_that_are_left_make_a_last_update():
    """Five batches of which four make an update; the fifth must not be lost."""
    model = make_model()
    model.fit(
        X[:40],
        Y[:40],
        batch_size=8,
        shuffle=False,
        callbacks=[DynamicBatchSize([(0, 4)], batch_size=8)],
        verbose=0,
    )
    assert int(model.optimizer.iterations) == 2


def noisy_data(noise, size=2048):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, 4)).astype("float32")
    return x, x @ np.ones((4, 1)) + noise * rng.normal(size=(size, 1))


def test_grows_with_the_noise_scale_up_to_the_limit():
    """At the optimum of a regression the gradient is noise, and so the scale grows."""
    histories = {}
    for noise in (1e-3, 1.0):
        model = make_model(rate=0.01)
        histories[noise] = model.fit(
            *noisy_data(noise),
            batch_size=16,
            epochs=8,
            callbacks=[DynamicBatchSize("noise_scale", 16, max_batch_size=100)],
            verbose=0,
        ).history
    sizes = histories[1.0]["batch_size"]
    # The largest multiple of 16 within 100.
    assert sizes[-1] == 96
    assert set(sizes) <= {16, 32, 64, 96}
    assert all(a <= b <= 2 * a for a, b in zip(sizes, sizes[1:], strict=False))
    assert histories[1.0]["noise_scale"][-1] > 64


def test_noise_scale_is_not_invented():
    history = make_model().fit(
        X[:16],
        Y[:16],
        batch_size=8,
        callbacks=[DynamicBatchSize("noise_scale", 8)],
        verbose=0,
    )
    assert np.isnan(history.history["noise_scale"][0])
    assert history.history["batch_size"] == [8]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"policy": "double"},
            r"`policy` must be a list of .* or a BatchSizePolicy. Received: policy=",
        ),
        ({"policy": [(0, 0)]}, r"`stages` must be a list of \(epoch, factor\)"),
        ({"policy": [(3, 2), (1, 4)]}, r"increasing epochs"),
        ({"policy": [], "batch_size": 8}, r"`stages` must be"),
        ({"batch_size": 0}, r"`batch_size` must be an integer >= 1"),
        ({"batch_size": None}, r"`batch_size` must be an integer >= 1"),
        ({"max_batch_size": 4}, r"must be an integer >= batch_size=8, or None"),
        ({"min_batch_size": 0}, r"`min_batch_size` must be an integer >= 1, or None"),
        ({"max_device_batch": 1.5}, r"`max_device_batch` must be an integer >= 1"),
        ({"mode": "grow"}, r"`mode` must be one of .* Received: mode='grow'"),
        ({"mode": "rebatch"}, r"`data` must be an object with batch_size and sizes"),
        ({"data": X}, r"`data` must be .* or None with mode=\"accumulate\""),
        ({"learning_rate_scaling": 2}, r"`learning_rate_scaling` must be one of"),
        ({"every": 0}, r"`every` must be \"epoch\" or an integer >= 1"),
        ({"remainder": "drop"}, r"`remainder` must be \"keep\" or \"flush\""),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DynamicBatchSize(**{"policy": "noise_scale", "batch_size": 8, **arguments})
