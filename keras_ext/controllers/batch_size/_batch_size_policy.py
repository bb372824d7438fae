"""The base of the policies that choose a batch size."""

import math
import numbers
from collections.abc import Mapping

from keras_ext._core._checks import flag, integer, is_number, number, require
from keras_ext._core._described import Described


class Measured(Described):
    """What a policy is told when it is to decide.

    All sizes are in samples per update, over all replicas. The attributes have the
    names of the arguments; what was not measured, or is not known yet, is NaN.

    Args:
        batch_size: Number, the present batch size.
        initial_batch_size: Number, the batch size at the beginning.
        max_batch_size: Number, the largest batch size allowed. None means no limit.
        epoch: Integer, the number of epochs that are over. Defaults to `0`.
        signal: Number, the squared norm of the true gradient. None means not known.
        noise: Number, the trace of the covariance of the gradient of one sample. None
            means not known.
        projection: Number, the mean of the inner products of sample gradients with a
            gradient of the recent past. None means not known.
        projection_variance: Number, the variance of that inner product over single
            samples. None means not known.
        gsnr: Number, the mean over the elements of the gradient of their squared mean
            over their variance, for one sample. None means not known.
        learning_rate: Number, the learning rate that the optimizer would have without
            the gain of a policy. None means not known.
        gain: Number, what it is multiplied by at present. Defaults to `1.0`.
        logs: What `fit` logged last, such as `"loss"`. None means nothing.

    Raises:
        ValueError: If an argument is no number.

    Examples:
        >>> import keras_ext as kx
        >>> measured = kx.controllers.batch_size.Measured(
        ...     batch_size=32, initial_batch_size=32, signal=0.5, noise=200.0
        ... )
        >>> measured.noise_scale
        400.0
    """

    def __init__(  # noqa: PLR0913
        self,
        batch_size: float,
        initial_batch_size: float,
        max_batch_size: float | None = None,
        epoch: int = 0,
        signal: float | None = None,
        noise: float | None = None,
        projection: float | None = None,
        projection_variance: float | None = None,
        gsnr: float | None = None,
        learning_rate: float | None = None,
        gain: float = 1.0,
        logs: Mapping[str, float] | None = None,
    ) -> None:
        self.batch_size = number(batch_size, "batch_size", above=0)
        self.initial_batch_size = number(
            initial_batch_size, "initial_batch_size", above=0
        )
        self.max_batch_size = _measurement(max_batch_size, "max_batch_size", math.inf)
        self.epoch = integer(epoch, "epoch", low=0)
        self.signal = _measurement(signal, "signal")
        self.noise = _measurement(noise, "noise")
        self.projection = _measurement(projection, "projection")
        self.projection_variance = _measurement(
            projection_variance, "projection_variance"
        )
        self.gsnr = _measurement(gsnr, "gsnr")
        self.learning_rate = _measurement(learning_rate, "learning_rate")
        self.gain = number(gain, "gain", low=0)
        is_dictionary = logs is None or isinstance(logs, Mapping)
        require(is_dictionary, "logs", logs, "a dictionary or None")
        self.logs = dict(logs or {})

    @property
    def noise_scale(self) -> float:
        """The batch size at which signal and noise are equal; NaN if unknown."""
        known = self.signal > 0 and self.noise > 0
        return self.noise / self.signal if known else math.nan

    @property
    def squared_norm(self) -> float:
        """The mean squared norm of the gradient of the present batch."""
        return self.signal + self.noise / self.batch_size

    def log(self, name: str) -> float:
        """The logged value of that name; NaN if there is none, or it is not finite."""
        value = self.logs.get(name, math.nan)
        return float(value) if is_number(value) else math.nan


class BatchSizePolicy(Described):
    """Decides on the batch size, and maybe on the learning rate that goes with it.

    To write one that says directly which size comes next, override `update`. To write
    one that says which size the measurements ask for, override `wanted`: the policy
    then doubles while more is wanted than there is, one doubling at a decision, and
    with `shrink` halves when much less is. So noise in the measurement does not make
    the size jump to and fro.

    Args:
        shrink: Whether the batch may become smaller again. Defaults to `False`.

    Raises:
        ValueError: If `shrink` is neither True nor False.

    Examples:
        >>> import keras_ext as kx
        >>> from keras_ext.controllers.batch_size import BatchSizePolicy, Measured
        >>> class TwiceTheNoiseScale(BatchSizePolicy):
        ...     needs = frozenset({"noise"})
        ...
        ...     def wanted(self, measured):
        ...         return 2 * measured.noise_scale
        >>> TwiceTheNoiseScale().update(Measured(32, 32, signal=1.0, noise=20.0))
        64
    """

    # What it reads of `Measured`, for which a signal has to be installed: any of
    # "noise" (and signal), "projection" (and its variance) and "gsnr".
    needs: frozenset[str] = frozenset()
    # The size to double at, as a multiple of the present one. With 1 the batch is
    # never smaller than wanted, and with 2 never larger (within the bounds).
    doubles_at = 1.0
    # Whether `learning_rate_gain` has an opinion, now or later.
    sets_learning_rate = False

    def __init__(self, shrink: bool = False) -> None:
        self.shrink = flag(shrink, "shrink")

    def wanted(self, measured: Measured) -> float:
        """The batch size that the measurements ask for; NaN while they do not say."""
        raise NotImplementedError(f"{type(self).__name__} must override wanted().")

    def update(self, measured: Measured) -> float:
        """Returns the batch size from now on.

        Args:
            measured: What is known of the training.

        Returns:
            A number of samples > 0. Who acts on it rounds it to what is possible.
        """
        wanted, size = self.wanted(measured), measured.batch_size
        doubling = self.doubles_at * size
        if wanted > doubling or wanted == doubling > size:
            return 2 * size
        # A factor of four lies between the two moves.
        if self.shrink and wanted <= doubling / 4:
            return size / 2
        return size

    def learning_rate_gain(self, measured: Measured, batch_size: float) -> float | None:
        """What to multiply the learning rate by.

        Args:
            measured: What is known of the training.
            batch_size: The batch size from now on, as it could be had.

        Returns:
            A number > 0, or None if the policy has no opinion.
        """
        return None

    @property
    def largest_factor(self) -> float:
        """By what it multiplies the initial size at most; infinite if it can grow."""
        return math.inf


def _measurement(value: float | None, name: str, unknown: float = math.nan) -> float:
    """What was measured, maybe NaN or infinite."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    require(value is None or is_real, name, value, "a number or None")
    return unknown if value is None else float(value)
