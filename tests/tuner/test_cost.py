"""Costs that are measured, next to what is logged."""

import time

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.tuner import _cost
from tests.thorough import LONG


def model_of(units=3):
    layers = [keras.layers.Dense(units), keras.layers.BatchNormalization()]
    return keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(1)])


def test_what_is_counted_is_exact():
    model = model_of()
    # Dense 9, normalization 12, dense 4.
    assert kx.tuner.Cost("parameters").measure(model) == (25, 0)
    assert kx.tuner.Cost("bytes").measure(model) == (100, 0)
    half = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, dtype="float16")])
    assert kx.tuner.Cost("bytes").measure(half) == (6, 0)
    expected = kx.diagnostics.float_operations(model)
    assert kx.tuner.Cost("flops").measure(model) == (expected, 0)


def test_latency_is_the_median_and_half_of_the_middle_half(monkeypatch):
    model = model_of()
    rows = []
    monkeypatch.setattr(model, "predict_on_batch", rows.append)
    # The three first are not counted, however long they take.
    seconds = [9.0, 9.0, 9.0, 0.001, 0.002, 0.003, 0.004, 0.1]
    clock = iter(t for s in seconds for t in (0.0, s))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    found = kx.tuner.Cost("latency", repeats=5).measure(model)
    assert found == pytest.approx((3.0, 1.0))
    assert rows[0].shape == (1, 2)
    assert len(rows) == 8
    monkeypatch.undo()
    x = np.ones((4, 2), "float32")
    milliseconds, spread = kx.tuner.Cost("latency", x=x, repeats=3).measure(model)
    assert milliseconds > 0
    assert spread >= 0


@pytest.mark.thorough(LONG)
def test_a_front_of_loss_and_size(data):
    def build(hp):
        width = hp.Int("width", 1, 6)
        dense = keras.layers.Dense(width, "tanh")
        model = keras.Sequential([keras.Input((2,)), dense, keras.layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=True)
        return model

    objective = ["loss", kx.tuner.Cost("latency", repeats=3), "parameters"]
    search = kx.tuner.RandomSearch(build, objective, 4, seed=0)
    search.search(**data, epochs=1, verbose=0)
    trials = list(search.oracle.trials.values())
    assert [t.status for t in trials] == ["COMPLETED"] * 4
    for trial in trials:
        width = trial.hyperparameters.get("width")
        assert trial.metrics.get_last_value("parameters") == 4 * width + 1
        assert trial.metrics.get_last_value("latency") > 0
        assert trial.metrics.get_last_value("latency_spread") >= 0
    smallest = min(trials, key=lambda t: t.hyperparameters.get("width"))
    front = search.oracle.pareto_trials()
    sizes = [t.metrics.get_last_value("parameters") for t in front]
    assert smallest.metrics.get_last_value("parameters") in sizes


def test_costs_are_measured_once_and_logged_at_each_epoch():
    class Counted(kx.tuner.Cost):
        calls = 0

        def measure(self, model):
            Counted.calls += 1
            return super().measure(model)

    callback = _cost.MeasuredCosts([Counted("parameters")])
    callback.set_model(model_of())
    first, second = {"loss": 1.0}, {}
    callback.on_epoch_end(0, first)
    callback.on_epoch_end(1, second)
    assert first == {"loss": 1.0, "parameters": 25.0}
    assert second == {"parameters": 25.0}
    assert Counted.calls == 1


def test_arguments_are_checked():
    with pytest.raises(ValueError, match='`kind` must be "latency", "parameters", "by'):
        kx.tuner.Cost("price")
    with pytest.raises(ValueError, match='`x` must be None for "bytes"'):
        kx.tuner.Cost("bytes", x=np.ones((1, 2)))
    unknown = keras.Sequential([keras.Input((None, 2)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="inputs have known shapes.*Give rows"):
        kx.tuner.Cost("latency").measure(unknown)
