import keras
import pytest

from keras_ext.controllers.batch_size import DontDecayLearningRate, Measured

EXPONENTIAL = keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.5)
COSINE = keras.optimizers.schedules.CosineDecay(
    0.0, 400, warmup_target=0.1, warmup_steps=100
)


def course(schedule, most=512, steps=range(0, 600, 20)):
    """Rates of the schedule, with the sizes and gains that take their place."""
    policy, size, found = DontDecayLearningRate(), 32, []
    for step in steps:
        rate = float(schedule(step))
        measured = Measured(size, 32, most, learning_rate=rate)
        size = policy.update(measured)
        found.append((rate, size, policy.learning_rate_gain(measured, size)))
    return found


@pytest.mark.parametrize("schedule", [EXPONENTIAL, COSINE])
def test_learning_rate_over_batch_size_takes_the_course_of_the_schedule(schedule):
    for rate, size, gain in course(schedule):
        assert rate * gain / size == pytest.approx(rate / 32)


def test_the_learning_rate_stays_until_the_batch_is_at_its_largest():
    for rate, size, gain in course(EXPONENTIAL, most=512):
        if size < 512:
            assert rate * gain == pytest.approx(0.1)
        else:
            assert rate * gain == pytest.approx(16 * rate)
            assert rate <= 0.1 / 16 * 1.0001
    assert {32, 512} <= {size for _, size, _ in course(EXPONENTIAL)}


def test_a_warm_up_remains_one():
    for rate, size, gain in course(COSINE, steps=range(0, 101, 10)):
        assert (size, gain) == (32, 1)
        assert rate < 0.1001


def test_a_rate_that_ends_at_zero_asks_for_the_largest_batch():
    assert course(COSINE, steps=[100, 500])[-1][:2] == (0.0, 512)


def test_without_a_learning_rate_nothing_changes():
    assert DontDecayLearningRate().update(Measured(48, 32)) == 48


def test_a_batch_once_grown_stays():
    policy = DontDecayLearningRate()
    rates = (1.0, 0.5, 1.0)
    sizes = [policy.update(Measured(8, 8, learning_rate=rates[0]))]
    for rate in rates[1:]:
        sizes.append(policy.update(Measured(sizes[-1], 8, learning_rate=rate)))
    assert sizes == [8, 16, 16]
