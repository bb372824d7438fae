import os
import random
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.diagnostics import find_batch_size
from keras_ext.diagnostics._find_batch_size import BatchSizes, BatchSizeTrial
from keras_ext.signals.machine import _peak_memory
from keras_ext.signals.machine._peak_memory import PeakMemory
from tests.thorough import LONG, MATRIX

X = np.random.default_rng(0).normal(size=(96, 4)).astype("float32")
Y = np.cos(X[:, :1])
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def make_model(wide=8, **arguments):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(wide, "relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1),
        ]
    )
    arguments = {"optimizer": "adam", "loss": "mse", "metrics": ["mae"], **arguments}
    model.compile(**arguments)
    return model


class NoRoom(keras.layers.Layer):
    """Has no memory for batches above a size."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def call(self, x):
        def check(x):
            if len(x) > self.size:
                raise MemoryError("OOM when allocating tensor")  # TF translates it
            return x

        checked = tf.ensure_shape(tf.numpy_function(check, [x], x.dtype), x.shape)
        return x + tf.stop_gradient(checked - x)


def model_without_room(size):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(4), NoRoom(size), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    return model


def state(model):
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(v) for v in variables]


@pytest.mark.parametrize(
    ("replicas", "trained"),
    [(1, False), (1, True), (2, True)],
)
@pytest.mark.thorough(LONG)
def test_leaves_everything_as_it_was(strategies, replicas, trained):
    """Bit for bit; a training that follows is the same as without the search."""
    weights = []
    for search in (False, True):
        with strategies(replicas).scope():
            model = make_model()
        if trained:
            model.fit(X, Y, verbose=0)
        if search:
            function, before = model.train_function, state(model)
            draws = random.getstate(), np.random.get_state()[1].tolist()
            found = find_batch_size(model, X, Y, sizes=[16, 32], steps=1)
            assert found.largest == 32
            assert draws == (random.getstate(), np.random.get_state()[1].tolist())
            if trained:
                for a, b in zip(before, state(model), strict=True):
                    np.testing.assert_array_equal(a, b)
            assert model.train_function is function
        assert keras.ops.convert_to_numpy(model.optimizer.iterations) == 3 * trained
        model.fit(X, Y, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_builds_a_model_that_has_no_weights_yet():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert find_batch_size(model, X, Y, sizes=[8], steps=1).largest == 8
    assert int(model.optimizer.iterations) == 0


@pytest.mark.thorough(LONG)
def test_ends_where_memory_runs_out_and_restores_the_weights():
    model = model_without_room(40)
    before = model.get_weights()
    found = find_batch_size(model, X, Y, steps=1)
    assert [(t.batch_size, t.outcome) for t in found.trials] == [
        (8, "fits"),
        (16, "fits"),
        (32, "fits"),
        (64, "out of memory"),
    ]
    assert found.largest == 32
    assert found.trials[-1].samples_per_second is None
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_raises_and_restores_what_is_not_for_want_of_memory():
    model = make_model()
    x = np.full((16, 3), 1.0)  # one column is missing
    before = state(model)[0]
    with pytest.raises(Exception, match="4"):
        find_batch_size(model, x, Y[:16], steps=1)
    np.testing.assert_array_equal(before, state(model)[0])
    assert model.train_function is None


class Known(keras.layers.Layer):
    """Needs `16 * repeats` bytes for each sample, as long as it is called.

    Two tensors are there at the same time as the one that they are joined to.
    """

    def __init__(self, repeats):
        super().__init__()
        self.repeats = repeats

    def call(self, x):
        parts = [tf.tile(x[:, :1] + i, (1, self.repeats)) for i in (0.0, 1.0)]
        joined = tf.concat(parts, axis=1)
        mean = tf.stop_gradient(tf.reduce_mean(joined, axis=1, keepdims=True))
        return x + 1e-3 * mean


def model_of_known_size(repeats):
    model = keras.Sequential([keras.Input((4,)), Known(repeats), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.hardware
@on_linux
@pytest.mark.parametrize("repeats", [2500, 20_000])  # 20 and 164 MB
def test_memory_is_what_the_tensors_of_a_step_need(repeats):
    """However often it is measured, and whatever earlier steps have left."""
    x, y = np.repeat(X, 6, axis=0), np.repeat(Y, 6, axis=0)
    model = model_of_known_size(repeats)
    model.train_on_batch(x, y)
    for _ in range(3):
        for trial in find_batch_size(model, x, y, sizes=[64, 512], steps=1).trials:
            known = 16 * repeats * trial.batch_size
            # An allocator may hand out twice what it is asked for. With the step come
            # what it is compiled to and what its threads need.
            assert known - unseen() <= trial.memory < 2 * known + 1e8


def unseen():
    """By how many bytes what Linux counts may be off: each CPU adds its pages late."""
    try:
        tf.config.experimental.get_memory_info("CPU:0")
    except ValueError:
        return os.cpu_count() * max(32, 2 * os.cpu_count()) * 4096
    return 0  # TensorFlow's own count is exact.


@pytest.mark.hardware
@on_linux
@pytest.mark.thorough(LONG)
def test_memory_is_measured_and_limited():
    """The output of the wide layer alone has 4 bytes for each of its units."""
    wide = 20_000
    model = make_model(wide)
    x, y = np.repeat(X, 6, axis=0), np.repeat(Y, 6, axis=0)
    sizes = [64, 512]
    found = find_batch_size(model, x, y, sizes=sizes, steps=1)
    largest = found.trials[-1]
    assert largest.batch_size == 512
    assert 4 * wide * 512 < largest.memory < 20 * 4 * wide * 512
    # Now the process has more memory than all sizes need.
    limited = find_batch_size(
        model, (x, y), sizes=sizes, steps=1, memory_limit=4 * wide * 500
    )
    assert limited.trials[-1].outcome in ("over the limit", "not tried")
    assert limited.trials[-1].memory > 4 * wide * 500
    assert limited.largest is None or limited.largest < 512


@on_linux
def test_what_tensorflow_keeps_may_be_used_again(monkeypatch, tmp_path):
    PeakMemory()  # forgets the peaks of other tests
    tf.zeros(25 * 10**6).numpy()
    memory = PeakMemory()
    monkeypatch.setattr(_peak_memory, "_kibibytes", lambda path, name: 10**6)
    monkeypatch.setattr(_peak_memory, "_CGROUP", tmp_path)
    kept = memory.limit() / 0.8 - 1024e6
    if unseen():
        assert kept == pytest.approx(0, abs=1)  # nothing keeps count of it
    else:
        assert 1e8 <= kept < 3e8
    (tmp_path / "memory.max").write_text("900")
    (tmp_path / "memory.current").write_text("400")
    assert memory.limit() == pytest.approx(0.8 * (500 + kept))


@pytest.mark.parametrize(
    "data",
    [
        kx.data.DynamicBatches(X, Y, batch_size=16, sizes=[16, 48]),
        tf.data.Dataset.from_tensor_slices((X, Y)),
        pytest.param((X, Y, np.ones(96)), marks=pytest.mark.thorough(MATRIX)),
        pd.DataFrame(X),
    ],
    ids=["batches", "dataset", "weighted", "frame"],
)
def test_takes_data_of_every_kind(data):
    if isinstance(data, pd.DataFrame):
        data = {"x": data, "y": Y, "sample_weight": np.ones(96)}
    else:
        data = {"x": data}
    model = make_model(optimizer="sgd", steps_per_execution=2)
    found = find_batch_size(model, **data, steps=1)
    data = data["x"]
    dynamic = isinstance(data, kx.data.DynamicBatches)
    sizes = [t.batch_size for t in found.trials]
    assert sizes == ([16, 48] if dynamic else [8, 16, 32, 64])
    assert all(t.samples_per_second > 0 for t in found.trials)
    if dynamic:
        assert data.batch_size == 16
        assert data.drawn_sizes == ()


@pytest.mark.thorough(LONG)
def test_works_with_a_pipeline_that_accumulates():
    optimizer = kx.optimizers.GradientPipeline("sgd", accumulation_steps=3)
    model = make_model(optimizer=optimizer)
    model.fit(X, Y, batch_size=24, verbose=0)  # one batch of four is left over
    before = state(model)
    find_batch_size(model, X, Y, sizes=[16], steps=2)
    for a, b in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.thorough(LONG)
def test_step_is_traced_once_for_all_sizes():
    traces = []

    class Traced(keras.losses.Loss):
        def call(self, y, p):
            traces.append(1)
            return keras.ops.mean((y - p) ** 2, axis=-1)

    model = make_model(loss=Traced(), metrics=None)
    model.evaluate(X, Y, verbose=0)
    traces.clear()
    find_batch_size(model, X, Y, steps=1)
    assert len(traces) == 2  # the other was of one evaluation, which builds the loss


def test_fastest_is_the_smallest_that_is_nearly_as_fast():
    def found(*speeds, last="fits"):
        trials = [BatchSizeTrial(2**i, s, 10, "fits") for i, s in enumerate(speeds)]
        return BatchSizes((*trials, BatchSizeTrial(64, 1000.0, None, last)))

    assert found(50, 96, 100, 99, last="over the limit").fastest == 2
    assert found(50, 94, 100, 99, last="over the limit").fastest == 4
    assert found(50, 94, 100, 99, last="over the limit").largest == 8
    assert found(50, 94, 100, 99).fastest == found(50).largest == 64
    assert BatchSizes(()).fastest is None
    assert BatchSizes(()).largest is None


def test_draws_speed_and_memory_and_what_did_not_fit():
    trials = [BatchSizeTrial(8, 300.0, 10**6, "fits")]
    trials += [BatchSizeTrial(16, 500.0, 2 * 10**6, "fits")]
    trials += [BatchSizeTrial(32, 200.0, 4 * 10**6, "fits")]
    trials += [BatchSizeTrial(64, None, 8 * 10**6, "not tried")]
    above, below = BatchSizes(tuple(trials)).plot().axes
    assert list(below.lines[0].get_ydata()) == [1.0, 2.0, 4.0, 8.0]
    assert [text.get_text() for text in above.get_legend().texts] == ["fastest: 16"]
    assert [text.get_text() for text in below.get_legend().texts] == ["largest: 32"]
    crosses = [line for line in below.lines if line.get_marker() == "x"]
    assert [list(cross.get_xdata()) for cross in crosses] == [[64]]
    assert BatchSizes(()).plot().axes[0].get_legend() is None


def test_prints_as_a_table():
    trials = (
        BatchSizeTrial(8, 1234.56, 2_500_000, "fits"),
        BatchSizeTrial(16, None, None, "out of memory"),
    )
    assert str(BatchSizes(trials)).splitlines() == [
        "batch size   samples/s    memory (MB)   outcome",
        "         8        1235            2.5   fits",
        "        16           -              -   out of memory",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "`model` must be a keras.Model"),
        (
            {"x": kx.data.DynamicBatches(X, Y)},
            "`y, sample_weight` must be None, as `x` has them",
        ),
        ({"steps": 0}, "`steps` must be an integer >= 1"),
        ({"memory_limit": 0}, "`memory_limit` must be a number > 0 or None"),
        ({"sizes": []}, "`sizes` must be a list of integers >= 1"),
        ({"sizes": [200]}, "no larger than the data.*There are 96 samples."),
        ({"model": keras.Sequential()}, "`model.compiled` must be True"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        find_batch_size(**{"model": make_model(), "x": X, "y": Y, **arguments})


def test_sizes_must_be_divisible_by_the_replicas(strategies):
    with strategies(2).scope():
        model = make_model()
    with pytest.raises(ValueError, match="divisible by the 2 replicas"):
        find_batch_size(model, X, Y, sizes=[15])


@pytest.mark.thorough(LONG)
def test_a_limit_needs_to_know_the_memory(monkeypatch):
    monkeypatch.setattr(_peak_memory, "_can_reset", lambda: False)
    monkeypatch.setattr(_peak_memory, "_is_counted", lambda device: False)
    with pytest.raises(ValueError, match="can only be measured on Linux or with oneD"):
        find_batch_size(make_model(), X, Y, memory_limit=1e9)
    found = find_batch_size(make_model(), X, Y, sizes=[8], steps=1)
    assert found.trials[0].memory is None
    assert found.largest == 8
