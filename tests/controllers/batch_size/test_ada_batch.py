import pytest

from keras_ext.controllers.batch_size import AdaBatch, Measured


def course(policy, epochs, most=1e9):
    """Sizes and gains at the given epochs."""
    found = []
    for epoch in epochs:
        measured = Measured(32, 32, most, epoch=epoch)
        size = policy.update(measured)
        found.append((size, policy.learning_rate_gain(measured, size)))
    return found


def test_takes_the_course_of_the_paper():
    """Doubled every 20 epochs, the learning rate times 0.75 (section 4.1)."""
    assert course(AdaBatch(), [0, 19, 20, 39, 40, 60]) == [
        (32, 1.0),
        (32, 1.0),
        (64, 0.75),
        (64, 0.75),
        (128, 0.5625),
        (256, pytest.approx(0.421875)),
    ]


def test_learning_rate_over_batch_size_is_that_of_the_small_batch():
    """Also when the batch cannot grow any more."""
    policy = AdaBatch(every_epochs=3, decay=0.5)
    for epoch, (size, gain) in enumerate(course(policy, range(20), most=100)):
        assert size == min(32 * 2 ** (epoch // 3), 100)
        assert gain / size == pytest.approx(0.5 ** (epoch // 3) / 32)


def test_no_number_overflows_in_a_long_training():
    ((size, gain),) = course(AdaBatch(every_epochs=1, decay=0.5), [100_000], most=64)
    assert size == 64
    assert gain == 0.0
