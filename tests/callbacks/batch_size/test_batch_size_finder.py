import copy
import sys

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks import BatchSizeFinder
from tests.diagnostics.test_find_batch_size import (
    make_model,
    model_of_known_size,
    model_without_room,
)
from tests.thorough import LONG, MATRIX

X = np.random.default_rng(0).normal(size=(96, 4)).astype("float32")
Y = np.cos(X[:, :1])


def make_batches(**arguments):
    return kx.data.DynamicBatches(X, Y, **{"batch_size": 8, "seed": 0, **arguments})


def test_takes_the_largest_that_fits():
    model = model_without_room(40)
    batches = make_batches()
    finder = BatchSizeFinder(batches, mode="largest", steps=1)
    history = model.fit(batches, epochs=2, callbacks=[finder], verbose=0)
    assert batches.batch_size == finder.result.largest == 32
    assert history.history["batch_size"] == [32, 32]
    assert int(model.optimizer.iterations) == 2 * 3
    assert batches.drawn_sizes == (32,)


@pytest.mark.thorough(LONG)
def test_takes_the_fastest():
    batches = make_batches()
    finder = BatchSizeFinder(batches, steps=2, sizes=[8, 32])
    make_model().fit(batches, callbacks=[finder], verbose=0)
    assert batches.batch_size == finder.result.fastest
    assert [t.batch_size for t in finder.result.trials] == [8, 32]


@pytest.mark.thorough(LONG)
def test_training_is_as_with_the_size_from_the_beginning():
    weights = []
    for search in (False, True):
        model = make_model()
        batches = make_batches(batch_size=8 if search else 32, sizes=[8, 32])
        finder = BatchSizeFinder(batches, mode="largest", steps=1)
        callbacks = [kx.callbacks.LayerwiseAdaptiveClipping()]
        callbacks += [finder] if search else []
        model.fit(batches, epochs=2, callbacks=callbacks, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.thorough(MATRIX)
def test_works_on_two_replicas(strategies):
    with strategies(2).scope():
        model = make_model()
        batches = make_batches(sizes=[8, 48])
    finder = BatchSizeFinder(batches, mode="largest", steps=1)
    model.fit(batches, epochs=1, callbacks=[finder], verbose=0)
    assert batches.batch_size == 48
    assert keras.ops.convert_to_numpy(model.optimizer.iterations) == 2


def test_says_so_if_nothing_fits():
    batches = make_batches()
    with pytest.raises(ValueError, match="small enough\nbatch size"):
        model_without_room(4).fit(
            batches, callbacks=[BatchSizeFinder(batches, steps=1)], verbose=0
        )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.thorough(LONG)
def test_obeys_the_limit_of_memory():
    batches = make_batches()
    finder = BatchSizeFinder(batches, memory_limit=1.0, steps=1, mode="largest")
    with pytest.raises(ValueError, match="over the limit"):
        make_model(20_000).fit(batches, callbacks=[finder], verbose=0)


@pytest.mark.hardware
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.thorough(LONG)
def test_obeys_the_limit_when_the_process_has_the_memory_already():
    """512 samples need 164 MB, and 64 of them 20 MB."""
    x, y = np.repeat(X, 6, axis=0), np.repeat(Y, 6, axis=0)
    batches = kx.data.DynamicBatches(x, y, batch_size=512, seed=0, sizes=[64, 512])
    model = model_of_known_size(20_000)
    finder = BatchSizeFinder(batches, mode="largest", steps=1, memory_limit=1.5e8)
    model.fit(batches, verbose=0)
    for _ in range(2):
        model.fit(batches, callbacks=[finder], verbose=0)
        assert [t.outcome for t in finder.result.trials] == ["fits", "over the limit"]
        assert batches.batch_size == 64


@pytest.mark.thorough(MATRIX)
def test_a_copy_moves_the_same_batches():
    batches = make_batches(sizes=[8, 64])
    copied = copy.deepcopy(BatchSizeFinder(batches, mode="largest", steps=1))
    make_model().fit(batches, callbacks=[copied], verbose=0)
    assert batches.batch_size == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": (X, Y)}, "`data` must be keras_ext.data.DynamicBatches"),
        ({"mode": "best"}, '`mode` must be "fastest" or "largest"'),
        ({"sizes": [10]}, "`sizes` must be some of data.sizes"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        BatchSizeFinder(**{"data": make_batches(), **arguments})
