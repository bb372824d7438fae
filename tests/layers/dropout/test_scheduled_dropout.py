"""Rates over a training, against the formulas of the papers in NumPy."""

import keras
import numpy as np
import pytest

from keras_ext.layers import ScheduledDropout
from tests.thorough import LONG

ONES = np.ones((100, 200), "float32")


def rates(schedule, steps, **kwargs):
    layer = ScheduledDropout(0.5, schedule=schedule, **kwargs)
    layer.build((None, 1))
    found = []
    for _ in range(steps):
        found.append(layer.present_rate)
        layer(ONES[:1, :1], training=True)
    return found


def test_linear_rises_and_stays():
    expected = [0, 0.125, 0.25, 0.375, 0.5, 0.5]
    assert rates("linear", 6, total_steps=4) == expected


def test_annealed_falls_and_stays():
    assert rates("annealed", 6, total_steps=4) == [0.5, 0.375, 0.25, 0.125, 0, 0]


def test_curriculum_has_the_rates_of_the_paper():
    # Their keep rate is (1 - 0.5) exp(-gamma t) + 0.5 with gamma = 10 / T.
    t = np.arange(11)
    expected = 1 - ((1 - 0.5) * np.exp(-t) + 0.5)
    assert rates("curriculum", 11, total_steps=10) == pytest.approx(expected, abs=1e-6)


def test_cosine_is_that_of_keras():
    keras_cosine = keras.optimizers.schedules.CosineDecay(0.5, 8)
    expected = [float(keras_cosine(step)) for step in range(10)]
    assert rates("cosine", 10, total_steps=8) == pytest.approx(expected, abs=1e-6)
    assert rates("cosine", 10, total_steps=8)[-2:] == [0, 0]


def test_early_falls_to_the_cutoff():
    # 50 of 300 epochs, of 2 steps here, is the default.
    found = rates("early", 110, total_steps=600)
    expected = np.maximum(0.5 * (1 - np.arange(110) / 100), 0)
    assert found == pytest.approx(expected, abs=1e-6)
    assert set(found[101:]) == {0}
    assert rates("early", 4, total_steps=4, cutoff=0.5) == [0.5, 0.25, 0, 0]


def test_late_begins_at_the_cutoff():
    assert rates("late", 5, total_steps=4, cutoff=0.5) == [0, 0, 0.5, 0.5, 0.5]
    assert rates("late", 8, total_steps=12) == [0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_what_is_dropped_follows_the_rate():
    layer = ScheduledDropout(0.5, 4, seed=1)
    shares = [np.mean(np.asarray(layer(ONES, training=True)) == 0) for _ in range(6)]
    # 20,000 inputs: a standard error of 0.0035.
    assert shares == pytest.approx([0, 0.125, 0.25, 0.375, 0.5, 0.5], abs=0.02)


def test_only_training_is_counted():
    layer = ScheduledDropout(0.5, 4)
    for training in (True, False, True, False):
        layer(ONES, training=training)
    assert layer.present_rate == 0.25


@pytest.mark.usefixtures("graphs_as_shipped")
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.thorough(LONG)
def test_fit_counts_batches(jit_compile, tmp_path):
    model = keras.Sequential(
        [keras.Input((200,)), ScheduledDropout(0.5, 40), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse", steps_per_execution=2, jit_compile=jit_compile)
    model.fit(ONES, ONES[:, 0], batch_size=10, epochs=2, verbose=0)
    model.evaluate(ONES, ONES[:, 0], verbose=0)
    assert model.layers[0].present_rate == 0.25
    # Training that is resumed goes on.
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].present_rate == 0.25
    loaded.fit(ONES, ONES[:, 0], batch_size=10, epochs=1, verbose=0)
    assert loaded.layers[0].present_rate == 0.375


@pytest.mark.thorough(LONG)
def test_replicas_count_batches_once(strategies, tmp_path):
    with strategies(2).scope():
        model = keras.Sequential(
            [keras.Input((200,)), ScheduledDropout(0.5, 40), keras.layers.Dense(1)]
        )
        model.compile("sgd", "mse")
    model.fit(ONES, ONES[:, 0], batch_size=10, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].present_rate == 0.125


def test_the_height_is_live():
    layer = ScheduledDropout(0.5, 4, schedule="annealed")
    layer(ONES, training=True)
    layer.rate = 0.4
    assert layer.present_rate == 0.3


def test_noise_shape_drops_whole_axes():
    layer = ScheduledDropout(0.5, 4, schedule="annealed", noise_shape=[None, 1], seed=0)
    outputs = np.asarray(layer(ONES, training=True))
    assert set(outputs.min(axis=1)) == {0.0, 2.0}
    np.testing.assert_array_equal(outputs.min(axis=1), outputs.max(axis=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 1.0}, r"`rate` must be a number in \[0, 0\.95\]"),
        ({"total_steps": 0}, "`total_steps` must be an integer >= 1"),
        ({"schedule": "rising"}, '`schedule` must be "linear", "curriculum"'),
        ({"cutoff": 0}, r"`cutoff` must be a number in \(0, 1\] or None"),
        ({"noise_shape": 3}, "`noise_shape` must be a list of integers >= 1"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ScheduledDropout(**{"rate": 0.5, "total_steps": 9, **arguments})
