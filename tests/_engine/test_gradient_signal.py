import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._engine._gradient_signal import GradientSignal
from keras_ext.gradients import ClipByNorm
from keras_ext.optimizers import GradientPipeline


class Notes(GradientSignal):
    """Notes what it is called with."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def before_update(self, update):
        self.update = update
        self.calls.append(("before", float(update.variables[0][0])))

    def after_update(self, update):
        self.calls.append(("after", float(update.variables[0][0])))

    def after_skip(self, squared_norms, variables):
        self.calls.append(("skip", float(squared_norms[0]), len(variables)))


class Squares(Notes):
    """Measures each micro-batch."""

    local_shapes = ((),)

    def measure_locally(self, gradients, variables):
        return [tf.reduce_sum(gradients[0] ** 2)]


def pipeline(signal, transforms=(), **options):
    weight = keras.Variable([1.0, 1.0], name="kernel")
    sgd = keras.optimizers.SGD(0.5)
    made = GradientPipeline(sgd, transforms, signals=[signal], **options)
    made.build([weight])
    return lambda *gradient: made.apply([tf.constant(gradient)], [weight])


def test_it_is_called_before_and_after_the_weights_move():
    signal = Notes()
    apply = pipeline(signal, [ClipByNorm(1.0)])
    apply(3.0, 4.0)
    assert signal.calls == [("before", 1.0), ("after", pytest.approx(1 - 0.5 * 0.6))]
    update = signal.update
    np.testing.assert_allclose(update.gradients[0], [3.0, 4.0])
    np.testing.assert_allclose(update.transformed[0], [0.6, 0.8], rtol=1e-6)
    assert float(update.squared_norms[0]) == 25.0
    assert (int(update.iteration), int(update.micro_batches)) == (0, 1)
    # With one micro-batch, the gradient of the batch is that.
    assert update.local_sums == {}


def test_of_several_micro_batches_it_is_told_the_sums():
    signal = Squares()
    apply = pipeline(signal, accumulation_steps=2)
    apply(1.0, 0.0)
    assert signal.calls == []
    apply(3.0, 0.0)
    update = signal.update
    assert int(update.micro_batches) == 2
    np.testing.assert_allclose(update.gradients[0], [2.0, 0.0])
    assert [float(x) for x in update.local_sums[signal]] == [10.0]


def test_an_update_that_is_left_out_is_told_apart():
    signal = Notes()
    apply = pipeline(signal)
    apply(np.inf, 0.0)
    assert signal.calls == [("skip", np.inf, 1)]


def test_one_that_overrides_nothing_does_no_harm():
    signal = GradientSignal()
    pipeline(signal)(1.0, 1.0)
    with pytest.raises(NotImplementedError):
        signal.measure_locally([], [])
