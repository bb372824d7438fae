"""Estimates the moving statistics of batch normalization anew."""

from typing import ClassVar

import keras
import numpy as np

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._anatomy._moving_norms import moving_norms
from keras_ext._anatomy._sublayers import sublayers
from keras_ext._core._checks import integer, require
from keras_ext._core._progress import Progress
from keras_ext._core._typing import Data, Logs
from keras_ext._fit._copyable_callback import CopyableCallback
from keras_ext.callbacks._announcement import shows_progress
from keras_ext.callbacks.regularization._data_of_fit import given_rows, rows_to_train_on
from keras_ext.callbacks.regularization._input_moments import InputMoments

_SHORTER = "A smaller `max_rows` makes it shorter."


class RecalibrateBatchNorm(CopyableCallback):
    """Estimates the moving statistics of `BatchNormalization` with the final weights.

    During training these statistics lag behind the changing weights, and include the
    variance added by dropout. At inference neither applies. This goes through
    `train_data` in inference mode once for each `BatchNormalization`, from input to
    output, and sets its moving mean and variance to those of its inputs over all rows.
    The weights stay as they are.

    Use it after training with dropout in front of normalization, with a momentum near 1
    in a short training, or after weights were averaged.

    Args:
        train_data: Training data: `(x, y)` or `(x, y, sample_weight)` of arrays, or a
            dataset that yields batches of these. Only `x` is used, and all of it. None
            means rows of `fit`: of arrays 2,048 evenly spaced, of a dataset the first
            ones, as many or a batch more.
        every_epochs: Integer >= 1; also do it at this epoch interval, before the
            validation of `fit` is made with the statistics. None means only at the end
            of training.
        max_rows: Integer >= 1; rows of arrays to use, evenly spaced. None means
            all that are given as `train_data`.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, if the
            model has no `BatchNormalization`.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> norm = keras.layers.BatchNormalization()
        >>> model = keras.Sequential([keras.Input((1,)), norm, keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.01), "mse")
        >>> x = np.array([[1.0], [3.0], [5.0], [7.0]])
        >>> recalibrate = kx.callbacks.RecalibrateBatchNorm((x, x))
        >>> history = model.fit(x, x, callbacks=[recalibrate], verbose=0)
        >>> float(norm.moving_mean[0]), float(norm.moving_variance[0])
        (4.0, 5.0)

    References:
        - [Li et al., 2018](https://arxiv.org/abs/1801.05134)
    """

    remembered: ClassVar[tuple[str, ...]] = ("_epochs", "_due")
    # Asked by optimizers that evaluate with other weights than they train.
    recalibrates: ClassVar[bool] = True

    def __init__(
        self,
        train_data: Data = None,
        *,
        every_epochs: int | None = None,
        max_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.train_data = train_data
        self.every_epochs = integer(every_epochs, "every_epochs", low=1, optional=True)
        self.max_rows = integer(max_rows, "max_rows", low=1, optional=True)
        given_rows(train_data, max_rows)  # for its checks

    def on_train_begin(self, logs: Logs = None) -> None:
        self._norms = norms_of(self.model)
        self._rows = rows_to_train_on(self.model, self.train_data, self.max_rows)
        self._epochs = 0
        # Whether an epoch has begun whose statistics are still to be made.
        self._due = False

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epochs += 1
        self._due = (
            self.every_epochs is not None and self._epochs % self.every_epochs == 0
        )

    def on_test_begin(self, logs: Logs = None) -> None:
        # The validation in `fit` comes before the end of the epoch.
        if getattr(self, "_due", False):
            self._recalibrate()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self._due:
            self._recalibrate()

    def on_train_end(self, logs: Logs = None) -> None:
        # Before, it would write into the progress bar of `fit`.
        self._recalibrate(show_progress=shows_progress(self))

    def _recalibrate(self, *, show_progress: bool = False) -> None:
        self._due = False
        progress = Progress(show_progress, shorter=_SHORTER)
        recalibrate(self.model, self._norms, self._rows, progress)


def norms_of(model: keras.Model) -> list[keras.Layer]:
    """The layers of batch normalization whose statistics move, at least one."""
    found = moving_norms(model)
    names = [layer.name for layer in sublayers(model)]
    require(bool(found), "model", names, "one with a trainable BatchNormalization")
    return found


def recalibrate(
    model: keras.Model,
    norms: list[keras.Layer],
    data: FixedData,
    progress: Progress | None = None,
) -> None:
    """Sets the statistics of the layers to those of what they get in inference."""
    moments = InputMoments(model, norms)
    done = 0
    # What one of them gives out changes what those after it get.
    # `norms` is empty until the first measurement has traced the model.
    while done == 0 or done < len(moments.norms):
        count, mean, variance = moments.measure(data)[done]
        # Where all was masked there is nothing to go by.
        if np.all(count):
            moments.norms[done].moving_mean.assign(mean)
            moments.norms[done].moving_variance.assign(variance)
        done += 1
        if progress is not None:
            progress(done, len(moments.norms))
