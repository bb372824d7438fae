import keras
import numpy as np
import pytest

from keras_ext._live._learning_rate_gain import LearningRateGain

SCHEDULE = keras.optimizers.schedules.PolynomialDecay(1.0, 100, 0.0)


def step(optimizer, times=1):
    weight = keras.Variable([0.0])
    optimizer.build([weight])
    moves = []
    for _ in range(times):
        before = weight.numpy()
        optimizer.apply([keras.ops.ones((1,))], [weight])
        moves.append((before - weight.numpy()).item())
    return moves


def test_a_number_is_multiplied_where_it_is_kept():
    optimizer = keras.optimizers.SGD(0.5)
    gain = LearningRateGain(optimizer)
    gain.assign(4.0)
    assert float(optimizer.learning_rate) == 2.0
    # As other callbacks do.
    optimizer.learning_rate = float(optimizer.learning_rate) * 0.1
    gain.assign(2.0)
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
    assert gain.own_rate() == pytest.approx(0.05)
    gain.release()
    assert float(optimizer.learning_rate) == pytest.approx(0.05)


def test_a_schedule_is_multiplied_and_runs_faster():
    optimizer = keras.optimizers.SGD(SCHEDULE)
    assert step(optimizer, 3) == pytest.approx([1.0, 0.99, 0.98])
    gain = LearningRateGain(optimizer)
    gain.assign(2.0, pace=10.0)
    # At 3, 13, 23; then twice as slowly from 33 on.
    weight = optimizer._trainable_variables[0]
    before = weight.numpy()
    for _ in range(3):
        optimizer.apply([keras.ops.ones((1,))], [weight])
    assert (before - weight.numpy()).item() == pytest.approx(2 * (0.97 + 0.87 + 0.77))
    assert gain.own_rate() == pytest.approx(0.67)
    gain.assign(0.5, pace=5.0)
    assert float(optimizer.learning_rate) == pytest.approx(0.5 * 0.67)
    optimizer.apply([keras.ops.ones((1,))], [weight])
    assert float(optimizer.learning_rate) == pytest.approx(0.5 * 0.62)
    gain.release()
    # By the number of updates again.
    assert float(optimizer.learning_rate) == pytest.approx(0.93)
    gain.release()


def test_a_fraction_of_a_step_is_none():
    optimizer = keras.optimizers.SGD(SCHEDULE)
    gain = LearningRateGain(optimizer)
    gain.assign(1.0, pace=0.4)
    assert step(optimizer, 6) == pytest.approx([1.0, 1.0, 1.0, 0.99, 0.99, 0.98])


def test_a_function_is_multiplied():
    optimizer = keras.optimizers.SGD(lambda: 0.25)
    gain = LearningRateGain(optimizer)
    gain.assign(4.0)
    assert step(optimizer) == pytest.approx([1.0])
    gain.release()
    assert optimizer.learning_rate == 0.25


def test_the_optimizer_is_saved_as_it_was_made():
    optimizer = keras.optimizers.SGD(SCHEDULE)
    expected = optimizer.get_config()
    gain = LearningRateGain(optimizer)
    gain.assign(3.0)
    assert optimizer.get_config() == expected
    gain.release()


def test_changes_without_a_retrace(strategies):
    """On two replicas, in a compiled step."""
    with strategies(2).scope():
        model = keras.Sequential(
            [keras.Input((1,)), keras.layers.Dense(1, None, False, "zeros")]
        )
        model.compile(keras.optimizers.SGD(SCHEDULE), lambda y, p: -p)
        gain = LearningRateGain(model.optimizer)

    class Gain(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            gain.assign(1.0 + batch, pace=10.0)

    x = np.ones((8, 1))
    model.fit(x, x, batch_size=2, callbacks=[Gain()], verbose=0)
    (kernel,) = model.get_weights()
    expected = sum((1 + i) * (1.0 - 0.1 * i) for i in range(4))
    assert kernel.item() == pytest.approx(expected, rel=1e-5)
