import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import DelayGradients
from keras_ext.optimizers import GradientPipeline
from tests.streams import STREAM, transformed


@pytest.mark.parametrize("steps", [0, 1, 3, 60])
def test_the_stream_comes_late_and_begins_with_zeros(steps):
    late = transformed(DelayGradients(steps))
    for name, gradients in STREAM.items():
        kept = max(len(gradients) - steps, 0)
        waiting = np.zeros((len(gradients) - kept, *gradients.shape[1:]))
        wanted = np.concatenate([waiting, gradients[:kept]])
        np.testing.assert_array_equal(late[name], wanted)


def descent(steps, rate, updates):
    """Where descent on x^2 / 2 from 1 gets to, and the same in NumPy."""
    optimizer = GradientPipeline(keras.optimizers.SGD(rate), [DelayGradients(steps)])
    x = keras.Variable([1.0], name="x")
    optimizer.build([x])

    @tf.function(autograph=False)
    def step():
        optimizer.apply([tf.identity(x.value)], [x])

    ours, oracle = [1.0], [1.0]
    for t in range(updates):
        step()
        ours.append(float(x.numpy()[0]))
        late = oracle[t - steps] if t >= steps else 0.0
        oracle.append(oracle[-1] - rate * late)
    return ours, oracle


@pytest.mark.parametrize("steps", [1, 4])
def test_descent_on_a_parabola_is_stable_up_to_the_known_rate(steps):
    limit = 2 * np.sin(np.pi / (4 * steps + 2))
    for factor, grows in ((0.95, False), (1.05, True)):
        ours, oracle = descent(steps, factor * limit, 150)
        tolerance = 1e-5 * np.abs(oracle).max()
        np.testing.assert_allclose(ours, oracle, rtol=0, atol=tolerance)
        assert (np.abs(ours[-20:]).max() > np.abs(ours[:20]).max()) == grows


@pytest.mark.parametrize("steps", [-1, 1.5, None])
def test_bad_arguments(steps):
    message = r"`steps` must be an integer >= 0\. Received: steps="
    with pytest.raises(ValueError, match=message):
        DelayGradients(steps)
