import keras
import pytest

from keras_ext.schedules import Schedule


@keras.saving.register_keras_serializable("tests")
class Half(Schedule):
    def __init__(self, inner):
        self.inner = inner

    def value(self, step):
        return 0.5 * self.inner(step)


def test_one_of_your_own_keeps_the_schedules_that_it_is_given():
    inner = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
    optimizer = keras.optimizers.Adam(Half(inner))
    copied = keras.optimizers.Adam.from_config(optimizer.get_config())
    assert float(copied.learning_rate) == 0.5
    assert float(Half(inner)(1)) == 0.25


def test_says_what_to_override():
    with pytest.raises(NotImplementedError, match=r"Schedule must override value"):
        Schedule()(0)
