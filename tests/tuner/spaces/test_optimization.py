"""Optimizers from a space."""

import math

import keras
import keras_tuner
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.tuner.spaces import optimization
from keras_ext.tuner.spaces._optimization import (
    _AVERAGING,
    _CLIPS,
    _DIRECTIONS,
    _POLICIES,
    _SCHEDULES,
)
from tests.thorough import thorough_but

ALL = optimization(
    directions=list(_DIRECTIONS),
    clip=["none", *_CLIPS],
    schedule=list(_SCHEDULES),
    averaging=list(_AVERAGING),
    batch_policy=["constant", *_POLICIES],
    cautious=[False, True],
)


def of(space, **values):
    hp = keras_tuner.HyperParameters()
    hp.values = {f"optimization/{name}": value for name, value in values.items()}
    return hp


@pytest.mark.parametrize("seed", thorough_but(range(30), range(300)))
def test_every_combination_is_an_optimizer(seed, drawn):
    hp = drawn(ALL, seed)
    optimizer = ALL(hp, 100)
    values = {n.removeprefix("optimization/"): v for n, v in hp.values.items()}
    inner = optimizer
    while hasattr(inner, "optimizer"):
        inner = inner.optimizer
    assert type(inner).__name__.lower() == values["direction"]
    kind = _DIRECTIONS[values["direction"]]
    averaging = values.get("averaging", values.get("averaging_with_momentum"))
    assert ("averaging" in values) == kind.can_be_free
    if kind.first:
        forget = 1.0 if averaging == "schedule_free" else values["forget"]
        assert getattr(inner, kind.first) == pytest.approx(1 - forget)
    assert (averaging == "schedule_free") == isinstance(
        optimizer, kx.optimizers.ScheduleFree
    )
    assert inner.use_ema == (averaging == "ema")
    rule = values["clip"]
    assert {n for n in values if n.startswith("clip_")} == (
        set() if rule == "none" else {f"clip_{rule}"}
    )
    assert (inner.weight_decay or None) == values.get("weight_decay")
    # And it is one: a step moves what is given, to finite values.
    weight = keras.Variable([1.0, 2.0])
    optimizer.build([weight])
    optimizer.apply([keras.ops.convert_to_tensor([1.0, -1.0])])
    assert np.isfinite(weight.numpy()).all()


@pytest.mark.parametrize("schedule", _SCHEDULES)
def test_schedules_begin_peak_and_end_where_they_say(schedule):
    space = optimization(directions="sgd", schedule=schedule, total_steps=200)
    hp = of(space, learning_rate=2.0, warmup=0.25, end=0.01)
    optimizer = space(hp)
    rate = optimizer.learning_rate if schedule == "constant" else None
    if schedule == "constant":
        assert float(rate) == pytest.approx(0.2)
        return
    curve = np.array([float(optimizer._learning_rate(step)) for step in range(201)])
    assert curve.max() == pytest.approx(0.2, rel=0.02)
    warmed = {"warmup_cosine", "one_cycle", "warmup_stable_decay"}
    if schedule in warmed | {"inverse_square_root"}:
        assert curve[0] < 0.1
        assert int(curve.argmax()) == pytest.approx(50, abs=1)
    else:
        assert int(curve.argmax()) == 0
    last = {"one_cycle": 0.2 / 25 / 1e4, "inverse_square_root": 0.1}
    assert curve[-1] == pytest.approx(last.get(schedule, 0.002), rel=0.03, abs=1e-5)


def test_rates_are_multiples_of_what_is_usual_for_the_direction():
    space = optimization(
        directions=["sgd", "adamw", "lion"], schedule="constant", learning_rate=3.0
    )
    found = {
        name: float(space(of(space, direction=name)).learning_rate)
        for name in ("sgd", "adamw", "lion")
    }
    assert found == pytest.approx({"sgd": 0.3, "adamw": 3e-3, "lion": 3e-4})


def test_a_batch_policy_is_a_callback():
    space = optimization(batch_policy=["constant", "noise_scale"], schedule="constant")
    assert space.callbacks(of(space, batch_policy="constant")) == []
    (callback,) = space.callbacks(of(space, batch_policy="noise_scale"))
    assert isinstance(callback, kx.callbacks.DynamicBatchSize)


class Huge(kx.controllers.batch_size.NoiseScale):
    needs = frozenset()

    def update(self, measured):
        return 1000.0


@pytest.mark.parametrize(
    "averaging", thorough_but(["none"], ["none", "ema", "lookahead", "schedule_free"])
)
def test_a_schedule_ends_with_a_training_of_growing_batches(averaging, monkeypatch):
    """Four times as many samples to an update make a quarter as many updates."""
    monkeypatch.setitem(_POLICIES, "noise_scale", Huge)
    space = optimization(
        directions="sgd",
        averaging=averaging,
        batch_policy="noise_scale",
        clip="none",
        schedule="cosine",
    )
    hp = of(space, end=0.01, learning_rate=0.1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    x, rates = np.ones((16, 2)), []
    model.compile(space(hp, 8 * 5), "mse")
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: rates.append(
            float(model.optimizer.learning_rate)
        )
    )
    fit = {"batch_size": 2, "epochs": 5, "verbose": 0}
    model.fit(x, x[:, :1], callbacks=[*space.callbacks(hp), told], **fit)
    cosine = [0.01 * (0.505 + 0.495 * math.cos(math.pi * i / 5)) for i in range(1, 6)]
    assert rates == pytest.approx(cosine, rel=1e-3)


def test_a_batch_grows_to_four_times_its_size(monkeypatch):
    monkeypatch.setitem(_POLICIES, "noise_scale", Huge)
    space = optimization(batch_policy="noise_scale", schedule="constant")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=2)
    x, hp = np.ones((16, 2)), of(space)
    fit = {"batch_size": 2, "epochs": 2, "verbose": 0}
    with pytest.raises(ValueError, match="`batch_size` must be given if `compile` has"):
        model.fit(x, x[:, :1], callbacks=space.callbacks(hp), **fit)
    history = model.fit(x, x[:, :1], callbacks=space.callbacks(hp, 2), **fit)
    assert history.history["batch_size"] == [2, 8]


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`averaging` must be another too"):
        optimization(directions="lion", averaging="schedule_free")
    space = optimization(schedule="cosine")
    with pytest.raises(ValueError, match="`total_steps` must be given, for the sched"):
        space(of(space))
    with pytest.raises(ValueError, match='`clip` must be "none", "global_norm"'):
        optimization(clip="soft")
    with pytest.raises(ValueError, match="`forget` must be a number in .0, 1. or"):
        optimization(forget=(0.0, 0.5))
