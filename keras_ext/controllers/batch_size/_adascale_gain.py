"""The gain of AdaScale."""

import math

from keras_ext.controllers.batch_size import Measured


def adascale_gain(ratio: float, measured: Measured, batch_size: float) -> float:
    """The gain of AdaScale for a batch `ratio` times as large as `batch_size`.

    The noise of the larger batch is less; the gain is by how much less the expected
    squared norm of its gradient is. While that is not known the gain is 1.
    """
    if math.isnan(measured.signal) or math.isnan(measured.noise):
        return 1.0
    # With these floors, the gain is between 1 and `ratio`.
    noise = max(measured.noise / batch_size, 1e-6)
    signal = max(measured.signal, 0.0)
    return (noise + signal) / (noise / ratio + signal)
