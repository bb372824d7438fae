from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.diagnostics import (
    _find_batch_size,
    _find_learning_rate,
    find_learning_rate,
)
from keras_ext.uncertainty import _mc_predict
from tests.diagnostics.test_find_batch_size import X, Y, make_model, state
from tests.thorough import MATRIX

FAST = {"steps": 40, "low": 1e-4, "high": 100.0, "smoothing": 0.9}


def quadratic(**options):
    """One weight, whose loss falls as exactly as its rate says."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.ones((1, 1))])
    options = {"optimizer": keras.optimizers.SGD(0.5), "loss": "mse", **options}
    model.compile(**options)
    return model


def test_tells_the_losses_of_gradient_descent():
    """The loss is w², its gradient 2 w: w shrinks by 1 - 2 rate, and bursts above 1."""
    ones = np.ones((8, 1), "float32")
    model = quadratic()
    found = find_learning_rate(model, ones, 0 * ones, batch_size=8, **FAST)
    assert model.get_weights()[0].item() == 1.0
    assert int(model.optimizer.iterations) == 0
    assert float(model.optimizer.learning_rate) == 0.5
    assert "_get_current_learning_rate" not in vars(model.optimizer)
    rates = np.array(found.rates)
    shrinks = np.concatenate([[1.0], 1 - 2 * rates[:-1]])
    np.testing.assert_allclose(found.losses, np.cumprod(shrinks) ** 2, rtol=1e-4)
    np.testing.assert_allclose(rates[:3], 1e-4 * (1e6 ** (1 / 39)) ** np.arange(3))
    assert found.smoothed[-1] > 4 * min(found.smoothed)
    assert len(rates) < 40
    assert 1e-3 < found.suggestion < 1.0


@pytest.mark.thorough(MATRIX)
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("trained", [False, True])
def test_leaves_everything_as_it_was(strategies, replicas, trained):
    """Bit for bit; a training that follows is the same as without the search."""
    weights = []
    for search in (False, True):
        with strategies(replicas).scope():
            schedule = kx.schedules.Rex(0.01, 50)
            model = make_model(optimizer=keras.optimizers.Adam(schedule))
        if trained:
            model.fit(X, Y, verbose=0)
        if search:
            function, before = model.train_function, state(model)
            find_learning_rate(model, X, Y, **FAST)
            if trained:
                for a, b in zip(before, state(model), strict=True):
                    np.testing.assert_array_equal(a, b)
            assert model.train_function is function
            assert "_get_current_learning_rate" not in vars(model.optimizer)
        model.fit(X, Y, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.thorough(MATRIX)
@pytest.mark.parametrize("kind", ["dataset", "batches", "pair", "pipeline"])
def test_takes_data_and_optimizers_of_every_kind(kind):
    data = {
        "dataset": tf.data.Dataset.from_tensor_slices((X, Y)).batch(8),
        "batches": kx.data.DynamicBatches(X, Y),
    }.get(kind, (X, Y))
    options = {}
    if kind == "pipeline":
        options["optimizer"] = kx.optimizers.GradientPipeline("sgd")
    model = make_model(**options)
    found = find_learning_rate(model, data, **FAST)
    assert len(found.losses) > 10
    assert np.isfinite(list(found.suggestions.values())).all()


def test_shows_what_it_suggests():
    rates = tuple(np.geomspace(1e-4, 1, 40))
    losses = tuple(1 + (np.log10(rates) + 1) ** 2)
    found = kx.diagnostics._find_learning_rate.LearningRates(rates, losses, losses, 4)
    assert found.suggestions["minimum"] == pytest.approx(0.01, rel=0.3)
    assert (
        str(found).splitlines()[2] == f"  minimum  {found.suggestions['minimum']:.2e}"
    )
    labels = [line.get_label() for line in found.plot().axes[0].lines]
    assert labels[:2] == ["loss of a batch", "smoothed"]
    assert [label.split(":")[0] for label in labels[2:]] == list(found.suggestions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "`model` must be a keras.Model"),
        ({"high": 1e-9}, "`high` must be above low=1e-07"),
        ({"x": kx.data.DynamicBatches(X, Y)}, "must be None, as `x` has them"),
        ({"low": 5.0, "high": 1e9}, r"`low` must be rates .* the loss burst after \d+"),
    ],
)
def test_bad_arguments(arguments, message):
    model = quadratic()
    with pytest.raises(ValueError, match=message):
        find_learning_rate(**{"model": model, "x": X[:, :1], "y": Y, **arguments})
    assert float(model.optimizer.learning_rate) == 0.5
    assert int(model.optimizer.iterations) == 0


@pytest.mark.thorough(MATRIX)
def test_several_steps_at_once_have_the_same_rate():
    ones = np.ones((8, 1), "float32")
    model = quadratic(steps_per_execution=2)
    found = find_learning_rate(model, ones, 0 * ones, batch_size=8, **FAST)
    first, second = found.losses[:2]
    shrink = 1 - 2 * found.rates[0]
    assert first == pytest.approx((1 + shrink**2) / 2, rel=1e-5)
    assert second < first


class Shown:
    """Stands in for the bar, and keeps what it is told."""

    told: ClassVar[list] = []

    def __init__(self, show, *, shorter):
        self.show = show

    def __call__(self, done, total):
        self.told.append((self.show, done / total))

    begin = __call__


@pytest.mark.parametrize("show", [True, False])
def test_tells_how_far_it_is(show, monkeypatch):
    monkeypatch.setattr(Shown, "told", [])
    for module in (_find_learning_rate, _find_batch_size, _mc_predict):
        monkeypatch.setattr(module, "Progress", Shown)
    drops = [keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((2,)), *drops])
    model.compile("sgd", "mse")
    x, y = np.ones((64, 2)), np.ones((64, 1))
    options = {"show_progress": show}
    find_learning_rate(model, x, y, low=1e-5, high=1e-3, steps=20, **options)
    kx.diagnostics.find_batch_size(model, x, y, sizes=[8, 16], steps=1, **options)
    kx.uncertainty.mc_predict(model, x, num_samples=2, **options)
    assert {shown for shown, _ in Shown.told} == {show}
    parts = [part for _, part in Shown.told]
    # The first step, which is traced, tells nothing of the others.
    assert parts[:20] == [i / 20 for i in range(1, 21)]
    assert parts[20:] == [0.0, 0.5, 1.0, 0.5, 1.0]


@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_dynamic_batches_have_the_size_that_they_have_in_fit(kind):
    seen = set()

    class Model(keras.Sequential):
        def train_step(self, data):
            seen.add(int(data[0].shape[0]))
            return super().train_step(data)

    samples = tf.data.Dataset.from_tensor_slices((X, Y))
    data = (X, Y) if kind == "arrays" else (samples,)
    batches = kx.data.DynamicBatches(*data, batch_size=4)
    batches.batch_size = 8
    model = Model([keras.Input(X.shape[1:]), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    find_learning_rate(model, batches, **FAST)
    assert seen == {8}
    assert batches.batch_size == 8
