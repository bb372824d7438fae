import keras
import numpy as np
import pytest

from keras_ext.callbacks import LocalSGD, PostLocalSGD
from tests.callbacks.local.test_local_sgd import copies, fit, linear
from tests.distribute import workers
from tests.thorough import LONG


def rate_of(epoch):
    return workers.RATE if epoch < 2 else workers.RATE / 10


@pytest.mark.thorough(LONG)
def test_begins_with_the_first_decay_of_the_learning_rate(strategies):
    """With Adam, of which steps alone that are averaged are not a step together."""
    adam = lambda: keras.optimizers.Adam(workers.RATE)  # noqa: E731
    schedule = keras.callbacks.LearningRateScheduler(rate_of)
    by_hand = linear(strategies(2), adam)
    fit(by_hand, [schedule], epochs=2)
    fit(by_hand, [LocalSGD(3), schedule], epochs=4, initial_epoch=2)
    model = linear(strategies(2), adam)
    # The schedule comes later, and sets the rate later, in each epoch.
    history = fit(model, [PostLocalSGD(3), schedule], epochs=4).history
    assert history["sync_every"] == [1, 1, 3, 3]
    np.testing.assert_allclose(copies(model), copies(by_hand), rtol=1e-5)


@pytest.mark.thorough(LONG)
def test_begins_with_a_given_epoch_and_again_in_each_fit(strategies):
    model = linear(strategies(1))
    local = PostLocalSGD(5, start_epoch=1)
    for _ in range(2):
        assert fit(model, [local]).history["sync_every"] == [1, 5]
    history = fit(model, [local], epochs=3, initial_epoch=2).history
    assert history["sync_every"] == [5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sync_every": 0}, "`sync_every` must be an integer >= 1"),
        ({"start_epoch": -1}, "`start_epoch` must be an integer >= 0 or None"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        PostLocalSGD(**arguments)
