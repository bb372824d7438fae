"""Shows how dropout misleads the batch normalization that comes after it."""

from typing import ClassVar

import keras
import numpy as np

from keras_ext._anatomy._sublayers import layer_paths
from keras_ext._core._checks import flag, integer, require
from keras_ext._core._typing import Data, Logs, Record
from keras_ext._fit._copyable_callback import CopyableCallback
from keras_ext.callbacks._announcement import tell, verbosity
from keras_ext.callbacks.regularization._data_of_fit import given_rows, rows_to_train_on
from keras_ext.callbacks.regularization._input_moments import InputMoments
from keras_ext.callbacks.regularization._recalibrate_batch_norm import (
    norms_of,
    recalibrate,
)

# A channel that hardly varies says nothing.
_SMALLEST_VARIANCE = 1e-8
# Ratios nearer to 1 are taken for no influence at all.
_NOTHING = 1e-5


class DropoutBatchNormBalance(CopyableCallback):
    """Measures the variance shift between dropout and `BatchNormalization`.

    During training, dropout increases the variance of its outputs. At inference it is
    off, but the moving variance of a `BatchNormalization` after it still expects the
    variance of training, so its outputs are too small. For each pair of a dropout layer
    and a normalization after it, this measures the ratio

        variance of the input without dropout / variance of it with this dropout,

    as the geometric mean over channels, normalizing by the statistics of the batch in
    both cases. A ratio of 1 means no shift. If it is far below, put the dropout after
    the last normalization, lower its rate, or re-estimate the statistics, which this
    callback does at the end of training, as `RecalibrateBatchNorm` does. Until then,
    validation uses the statistics of training.

    Logs `variance_ratio`, the smallest of all pairs, after each epoch.

    Args:
        train_data: Training data: `(x, y)` or `(x, y, sample_weight)` of arrays, or a
            dataset that yields batches of these. Only `x` is used. None means rows of
            `fit`: of arrays 2,048 evenly spaced, of a dataset the first ones, as many
            or a batch more.
        max_rows: Integer >= 1; rows of arrays to measure on, evenly spaced. The
            statistics are estimated on all rows. Defaults to `512`.
        every_epochs: Integer >= 1; the epochs between two measurements; the logs in
            between repeat the last. Defaults to `1`.
        recalibrate: Whether to re-estimate the statistics at the end of training.
            Defaults to `True`.
        verbose: `1` to print a line at the end with the worst pair, unless `fit` is
            told `verbose=0`; `0` to be silent. Defaults to `1`.

    Attributes:
        ratios: Dictionary from pairs `(path of the dropout, path of the normalization)`
            to the ratio when it was last measured. A pair without influence is left
            out.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, if the
            model has no `BatchNormalization`, or no layer with a dropout rate.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((8,)),
        ...         keras.layers.Dropout(0.5, name="dropout"),
        ...         keras.layers.BatchNormalization(name="norm"),
        ...         keras.layers.Dense(1),
        ...     ]
        ... )
        >>> model.compile("sgd", "mse")
        >>> x = np.random.default_rng(0).normal(size=(500, 8))
        >>> balance = kx.callbacks.DropoutBatchNormBalance((x, x[:, :1]))
        >>> history = model.fit(x, x[:, :1], callbacks=[balance], verbose=0)
        >>> round(balance.ratios["dropout", "norm"], 1)  # half the variance is dropout
        0.5
        >>> print(balance.report().partition(chr(10))[0])
        dropout -> norm: the variance in inference is 0... of that in training.

    References:
        - [Li et al., 2018](https://arxiv.org/abs/1801.05134)
    """

    remembered: ClassVar[tuple[str, ...]] = ("ratios", "_epochs")

    def __init__(
        self,
        train_data: Data = None,
        *,
        max_rows: int = 512,
        every_epochs: int = 1,
        recalibrate: bool = True,
        verbose: int = 1,
    ) -> None:
        super().__init__()
        self.verbose = verbosity(verbose)
        self.train_data = train_data
        self.max_rows = integer(max_rows, "max_rows", low=1)
        self.every_epochs = integer(every_epochs, "every_epochs", low=1)
        self.recalibrate = flag(recalibrate, "recalibrate")
        self.ratios: dict[tuple[str, str], float] = {}
        given_rows(train_data, max_rows)  # for its checks

    def on_train_begin(self, logs: Logs = None) -> None:
        model = self.model
        self._norms = norms_of(model)
        self._rows = rows_to_train_on(model, self.train_data)
        self._some = rows_to_train_on(model, self.train_data, self.max_rows)
        self._paths = layer_paths(model)
        dropouts = [layer for layer in self._paths if _is_dropout(layer)]
        known = [path for path in self._paths.values() if path]
        require(bool(dropouts), "model", known, "one with a dropout layer")
        # Normalization is as in training both times, so that only the dropout differs.
        self._plain = InputMoments(model, self._norms, self._norms)
        self._with = {
            d: InputMoments(model, self._norms, [*self._norms, d]) for d in dropouts
        }
        self._epochs = 0
        self.ratios = {}

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self._epochs % self.every_epochs == 0:
            self._measure()
        self._epochs += 1
        if logs is not None:
            logs["variance_ratio"] = min(self.ratios.values(), default=1.0)

    def _measure(self) -> None:
        without = self._variances(self._plain)
        self.ratios = {}
        for dropout, moments in self._with.items():
            for norm, variance in self._variances(moments).items():
                ratio = _mean_ratio(without[norm], variance)
                if abs(ratio - 1) > _NOTHING:
                    self.ratios[self._paths[dropout], norm] = ratio

    def _variances(self, moments: InputMoments) -> Record:
        measured = moments.measure(self._some)
        pairs = zip(moments.norms, measured, strict=True)
        return {self._paths[norm]: variance for norm, (_, _, variance) in pairs}

    def on_train_end(self, logs: Logs = None) -> None:
        if self.recalibrate:
            recalibrate(self.model, self._norms, self._rows)
        worst, *rest = self.report().splitlines()
        tell(self, " ".join([worst, *rest[-1:]]).removesuffix("."))

    def report(self) -> str:
        """Returns the ratios in words, one line for each pair, the worst first.

        Returns:
            The text.
        """
        worst_first = sorted(self.ratios.items(), key=lambda item: item[1])
        lines = [
            f"{dropout} -> {norm}: the variance in inference is {ratio:.2f} of that in "
            "training."
            for (dropout, norm), ratio in worst_first
        ]
        if not lines:
            return "No dropout has influence on a BatchNormalization."
        if self.recalibrate:
            lines.append("The statistics are re-estimated at the end of training.")
        return "\n".join(lines)


def _is_dropout(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.GaussianNoise) or hasattr(layer, "rate")


def _mean_ratio(without: np.ndarray, with_dropout: np.ndarray) -> float:
    """The geometric mean over the channels that vary."""
    varies = (without > _SMALLEST_VARIANCE) & (with_dropout > _SMALLEST_VARIANCE)
    if not varies.any():
        return 1.0
    return float(np.exp(np.mean(np.log(without[varies] / with_dropout[varies]))))
