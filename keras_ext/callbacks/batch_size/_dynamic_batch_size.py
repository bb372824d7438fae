"""Grows the batch while training."""

import math
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any, ClassVar

import keras
import numpy as np

from keras_ext._core._checks import choice, flag, integer, is_integer, require
from keras_ext._core._typing import Data, Logs, Record
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext._keras._model_runs import arguments_of_fit
from keras_ext._keras._optimizer_family import batches_per_update, stepping_optimizer
from keras_ext._live._find_hyperparameters import find_hyperparameters
from keras_ext._live._learning_rate_gain import LearningRateGain
from keras_ext._live._live_value import LiveValue
from keras_ext.callbacks._announcement import tell, verbosity
from keras_ext.callbacks._batch_count import BatchCount
from keras_ext.callbacks.batch_size._batch_size_actuator import BatchSizeActuator
from keras_ext.callbacks.batch_size._first_batch import FirstBatch
from keras_ext.callbacks.gradients._gradient_callback import GradientCallback
from keras_ext.controllers.batch_size import (
    BatchSizePolicy,
    Measured,
    NoiseScale,
    Staged,
)
from keras_ext.controllers.batch_size._adascale_gain import adascale_gain
from keras_ext.controllers.batch_size._staged import check_stages
from keras_ext.signals.gradients._gradient_moments import GradientMoments
from keras_ext.signals.gradients._gradient_noise_scale import GradientNoiseScale
from keras_ext.signals.gradients._gradient_projection import GradientProjection

_MODES = ("accumulate", "rebatch", "auto")
# The largest size as a multiple of the first, if nobody sets a limit.
_GROWTH = 32
_SCALINGS = ("none", "linear", "sqrt", "adascale")

# Pairs of an epoch and a factor; a name; or what decides.
_Policy = Sequence[tuple[int, int | BatchSizePolicy]] | str | BatchSizePolicy


class DynamicBatchSize(GradientCallback):
    """Grows the batch in the middle of `fit`.

    A policy of `keras_ext.controllers.batch_size` chooses the number of samples per
    update; `mode` says how to get there.

    - `"accumulate"`: `fit` keeps delivering batches of the same size, from whatever
      source, and one update is made of the mean gradient of several of them. Shapes
      stay static and nothing is retraced; the samples per second stay the same, and
      the updates become fewer. Batch normalization still sees the small batches.
    - `"rebatch"`: the batches themselves grow, which also makes an epoch faster. They
      must come from the `keras_ext.data.DynamicBatches` that you pass to `fit`.
    - `"auto"`: the batches grow up to `max_device_batch`; beyond it they accumulate.

    Accumulated batches count by their numbers of samples, so a smaller last batch does
    no harm. (All count the same if the model has its own `train_step` that does not
    call `optimizer.scale_loss`. If it has its own `compute_loss`, penalties beside a
    loss with `reduction="sum"` count with every batch, and not once per update.)
    Batches left over at the end of an epoch count towards the next update; at the end
    of training they make a last, smaller one. Where the optimizer accumulates by
    itself, it goes on, and an update has as many times the samples.

    `optimizer.iterations`, and with it a learning-rate schedule, counts updates. The
    learning rate stays as it is, unless the policy (`AdaBatch` or
    `DontDecayLearningRate`) or `learning_rate_scaling` changes it. A schedule is then
    read at the number of updates that the initial batch size would have made. The
    optimizer gets its own learning rate back at the end of training, and `data` its
    batch size.

    Logs `batch_size`; `gradient_noise_scale`, in samples (NaN while unknown), if it is
    measured; `learning_rate_gain`, if the learning rate is multiplied; and
    `nonfinite_steps`, the updates left out so far.

    Args:
        policy: List of pairs `(epoch, factor)`: from this epoch on, counted from 0, an
            update takes `factor` times the samples. Or `"noise_scale"`: double when the
            gradient noise scale has grown to twice the batch. Or a `BatchSizePolicy`.
        batch_size: Integer >= 1, the batch size that `fit` is given, over all replicas.
            It is compared with what the first batch has. None means that of `data`,
            or what the first batch has, which is then an update by itself.
        max_batch_size: Integer >= `batch_size`, the largest number of samples per
            update. None means what a list goes up to, and otherwise 32 times
            `batch_size`.
        mode: `"accumulate"`, `"rebatch"` or `"auto"`. Defaults to `"accumulate"`.
        data: For `"rebatch"` and `"auto"`, where batches come from: has a `batch_size`
            that can be assigned and a list `sizes` of what it can be. None means what
            `fit` is given; pass it where that is a generator that reads from it, and
            in a loop without `fit`.
        min_batch_size: Integer >= 1, the smallest number of samples per update. None
            means `batch_size`. When accumulating it cannot be smaller than that.
        max_device_batch: Integer >= 1, the largest batch, over all replicas, in mode
            `"auto"`. None means the largest of `data.sizes`.
        learning_rate_scaling: What to multiply the learning rate by when the batch is
            `c` times as large as at first: `"none"`; `"linear"`: by `c`, for SGD;
            `"sqrt"`: by its square root, for Adam; `"adascale"`: by as much as the
            larger batch lowers the noise of the gradient, measured, between 1 and `c`.
            Defaults to `"none"`.
        every: `"epoch"`, to decide at the beginning of each epoch, or an integer >= 1,
            to decide after that many batches. Defaults to `"epoch"`.
        remainder: `"keep"`, or `"flush"` to make an update of the batches that are left
            at the end of every epoch. Defaults to `"keep"`.
        adjust_batch_norm: Whether to raise the momentum of batch normalization to the
            power `c` while batches are `c` times as large, so that its averages
            remember as many samples as before. Defaults to `False`.
        nonfinite: `"skip"` to leave out updates whose gradient is NaN or infinite,
            `"raise"` to also end the training, `"recover"` to go back to good weights,
            see `GradientCallback`. Defaults to `"skip"`.
        verbose: `1` to print a line when the batch has changed, unless `fit` is told
            `verbose=0`; `0` to be silent. Defaults to `1`.

    Raises:
        ValueError: If an argument is out of range, when training begins, if the model
            has no optimizer or does not use it, or `fit` is given data without `sizes`
            where they are needed, and after the first batch, if it has another size
            than `batch_size`.
        FloatingPointError: With `nonfinite="raise"`, if a gradient was not finite.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> grow = kx.callbacks.DynamicBatchSize([(1, 2), (2, 4)], batch_size=8)
        >>> history = model.fit(
        ...     np.ones((32, 2)),
        ...     np.ones((32, 1)),
        ...     batch_size=8,
        ...     epochs=3,
        ...     callbacks=[grow],
        ...     verbose=0,
        ... )
        >>> history.history["batch_size"]
        [8, 16, 32]
        >>> int(model.optimizer.iterations)  # 4 + 2 + 1
        7

    References:
        - [Smith et al., 2018](https://arxiv.org/abs/1711.00489)
        - [McCandlish et al., 2018](https://arxiv.org/abs/1812.06162)
        - [Johnson et al., 2020](https://arxiv.org/abs/2007.05105) (AdaScale)
    """

    remembered: ClassVar[tuple[str, ...]] = (
        "_policy",
        "_size",
        "_last_logs",
        "_count",
        "_decided",
        "_rate",
        "_said",
    )

    def __init__(  # noqa: PLR0913
        self,
        policy: _Policy,
        *,
        batch_size: int | None = None,
        max_batch_size: int | None = None,
        mode: str = "accumulate",
        data: Data = None,
        min_batch_size: int | None = None,
        max_device_batch: int | None = None,
        learning_rate_scaling: str = "none",
        every: str | int = "epoch",
        remainder: str = "keep",
        adjust_batch_norm: bool = False,
        nonfinite: str = "skip",
        verbose: int = 1,
    ) -> None:
        super().__init__(nonfinite=nonfinite)
        self.verbose = verbosity(verbose)
        self.mode = choice(mode, "mode", _MODES)
        self.data = data
        if data is not None:
            self._require_sizes(data)
        self.batch_size = integer(batch_size, "batch_size", low=1, optional=True)
        self.policy = policy
        factor = _as_policy(policy).largest_factor
        self._growth = factor if math.isfinite(factor) else _GROWTH
        least = self._told(data) or 1
        self.max_batch_size = integer(
            max_batch_size, "max_batch_size", low=least, optional=True
        )
        self.min_batch_size = integer(
            min_batch_size, "min_batch_size", low=1, optional=True
        )
        self.max_device_batch = integer(
            max_device_batch, "max_device_batch", low=1, optional=True
        )
        self.learning_rate_scaling = choice(
            learning_rate_scaling, "learning_rate_scaling", _SCALINGS
        )
        is_epoch = isinstance(every, str) and every == "epoch"
        valid = is_epoch or (is_integer(every) and int(every) >= 1)
        require(valid, "every", every, '"epoch" or an integer >= 1')
        self.every: str | int = "epoch" if is_epoch else int(every)
        self.remainder = choice(remainder, "remainder", ("keep", "flush"))
        self.adjust_batch_norm = flag(adjust_batch_norm, "adjust_batch_norm")

    def _require_sizes(self, data: Data) -> None:
        has_size = hasattr(data, "batch_size") and hasattr(data, "sizes")
        require(
            has_size if self.mode != "accumulate" else data is None,
            "data",
            data,
            'an object with batch_size and sizes, or None with mode="accumulate"',
            hint="keras_ext.data.DynamicBatches is one; None means that of `fit`.",
        )

    def _told(self, source: Data) -> int | None:
        """The batch size, as far as it is known before the first batch."""
        if self.batch_size is None and source is not None:
            return int(source.batch_size)
        return self.batch_size

    @property
    def _most(self) -> int:
        """The largest number of samples per update; of batches while it is unknown."""
        return self.max_batch_size or int(self._first_size * self._growth)

    @property
    def _first_size(self) -> int:
        """The number of samples per update at first; of batches while it is unknown."""
        return (self._initial or 1) * batches_per_update(self.pipeline.optimizer)

    def install(self, pipeline: AttachedPipeline) -> None:
        self.fit_scope.claim(pipeline, "optimizer/accumulation_steps", self)
        # A policy that counts begins anew with every `fit`.
        self._policy = deepcopy(_as_policy(self.policy))
        self._first_batch = FirstBatch(self.fit_scope)
        self._is_compared = False
        self._source = self._source_of_batches()
        self._initial = self._told(self._source)
        integer(
            self.max_batch_size,
            "max_batch_size",
            low=self._initial or 1,
            optional=True,
        )
        # Several steps at once would be measured before their batch size is known.
        expected = "given if `compile` has steps_per_execution > 1"
        several = self.model.steps_per_execution > 1
        require(bool(self._initial) or not several, "batch_size", None, expected)
        self._actuator = BatchSizeActuator(
            pipeline,
            self._initial or 1,
            self._source,
            self._most,
            self.max_device_batch if self.mode == "auto" else None,
            self.mode != "rebatch",
        )
        if self.mode != "rebatch":
            pipeline.weigh_samples(max(1, int(self._micro_batch)))
        self._momenta = self._live_momenta()
        self._install_signals(pipeline)
        self._rate: LearningRateGain | None = None
        if self.learning_rate_scaling != "none" or self._policy.sets_learning_rate:
            with self.model.distribute_strategy.scope():
                # Of wrappers, too, the one that has the rate.
                inner = stepping_optimizer(pipeline.inner_optimizer)
                self.fit_scope.claim(inner, "optimizer/learning_rate", self)
                self._rate = LearningRateGain(inner)
            self.fit_scope.on_close(self._rate.release)
        self._epoch = 0
        self._last_logs: dict[str, float] = {}
        self._size = self._actuator.set(self._first_size)
        # The size that was spoken of last.
        self._said = self._size if self._initial else None

    def _source_of_batches(self) -> Data:
        """What gives batches that can grow, if any; it gets its size back."""
        if self.mode == "accumulate":
            return None
        source = self.data
        if source is None:
            source = (arguments_of_fit(self.model) or {}).get("x")
            self._require_sizes(source)
        self.fit_scope.on_close(
            partial(setattr, source, "batch_size", source.batch_size)
        )
        return source

    def _install_signals(self, pipeline: AttachedPipeline) -> None:
        needs = set(self._policy.needs)
        if self.learning_rate_scaling == "adascale":
            needs.add("noise")
        make = {
            "noise": GradientNoiseScale,
            "projection": GradientProjection,
            "gsnr": GradientMoments,
        }
        self._signals = {name: make[name]() for name in sorted(needs)}
        for signal in self._signals.values():
            pipeline.add_signal(signal)
        self._pass_on_batch()

    def _live_momenta(self) -> dict[LiveValue, float]:
        """The momenta of batch normalization, live, with their values."""
        if not self.adjust_batch_norm:
            return {}
        chosen = [
            knob
            for knob in find_hyperparameters(self.model)
            if isinstance(knob.owner, keras.layers.BatchNormalization)
        ]
        return {live: float(live) for live in self.fit_scope.make_live(chosen, self)}

    # Deciding.

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._count = BatchCount()
        # Batches up to the last decision.
        self._decided = 0
        if self.every != "epoch":
            self._decide()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch
        if self.every == "epoch":
            self._decide()
            self._tell_change(epoch)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_begin(batch, logs)
        if batch > 0 and not self._is_compared:
            self._compare(is_only=False)
        if isinstance(self.every, str):
            return
        done = self._count.before(self, batch)
        if done - self._decided >= self.every:
            self._decided = done
            if batch > 0:  # otherwise the logs of the last epoch are the latest
                results = self.model.get_metrics_result().items()
                scalars = {k: float(v) for k, v in results if np.ndim(v) == 0}
                self._last_logs.update(scalars)
            self._decide()

    def _compare(self, is_only: bool) -> None:
        """Compares what is known of the batch size with what the first batch has."""
        self._is_compared = True
        found = self._first_batch.read()
        counted = found > 0 or self._initial is not None
        require(counted, "batch_size", None, "given: the step counts no samples")
        # The only batch of an epoch may be a smaller one, as the last one of others.
        if found == 0 or (is_only and self._source is not None):
            return
        if self._initial is not None and not (is_only and found < self._initial):
            expected = f"{found}, what the first batch of `fit` has, or None"
            told = self._told(self._source)
            require(found == self._actuator.batch, "batch_size", told, expected)
            return
        was_unknown = self._initial is None
        self._initial = self._actuator.batch = found
        self._said = self._size = self._first_size
        self._pass_on_batch()
        if was_unknown:
            self._decide()

    def _decide(self) -> None:
        if self._initial is None:
            return
        measured = self._measured()
        wanted = self._policy.update(measured)
        wanted = min(max(wanted, self.min_batch_size or self._first_size), self._most)
        self._size = self._actuator.set(wanted)
        self._pass_on_batch()
        if self._rate is not None:
            gain, pace = self._gain(measured)
            self._rate.assign(gain, pace)

    def _measured(self) -> Measured:
        known: dict[str, float] = {}
        if "noise" in self._signals:
            known["signal"], known["noise"] = self._signals["noise"].read_parts()
        if "projection" in self._signals:
            mean, variance = self._signals["projection"].read()
            known["projection"], known["projection_variance"] = mean, variance
        if "gsnr" in self._signals:
            moments = self._signals["gsnr"].read()["global"]
            # The variance of a mean of n samples is 1/n of that of one: this is per
            # sample.
            known["gsnr"] = moments["gsnr"] / self._micro_batch
        return Measured(
            self._size,
            self._first_size,
            self._most,
            epoch=self._epoch,
            learning_rate=self._own_rate(),
            gain=1.0 if self._rate is None else self._rate.gain,
            logs=self._last_logs,
            **known,
        )

    def _own_rate(self) -> float:
        if self._rate is not None:
            return self._rate.own_rate()
        optimizer = self.pipeline.inner_optimizer
        return float(keras.ops.convert_to_numpy(optimizer.learning_rate))

    def _gain(self, measured: Measured) -> tuple[float, float]:
        """What to multiply the learning rate by, and how fast its schedule runs."""
        ratio = self._size / measured.initial_batch_size
        gain = self._policy.learning_rate_gain(measured, self._size)
        if gain is not None:
            return gain, ratio
        if self.learning_rate_scaling == "adascale":
            # The gain is also how many small updates a large one is worth.
            gain = adascale_gain(ratio, measured, measured.initial_batch_size)
            return gain, gain
        power = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}[self.learning_rate_scaling]
        return ratio**power, ratio

    @property
    def _micro_batch(self) -> float:
        """The samples that one replica receives at a time."""
        replicas = self.model.distribute_strategy.num_replicas_in_sync
        return self._actuator.batch / replicas

    def _pass_on_batch(self) -> None:
        """Tells those that reckon in samples how many a batch has."""
        for name in ("noise", "projection"):
            if name in self._signals:
                self._signals[name].unit.assign(self._micro_batch)
        for live, momentum in self._momenta.items():
            # A batch that is k times as large moves the statistics as k small ones
            # would.
            live.assign(momentum ** (self._actuator.batch / (self._initial or 1)))

    # Going on.

    def get_state(self) -> Record:
        return {**super().get_state(), "momenta": list(self._momenta.values())}

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        self._momenta = dict(zip(self._momenta, state["momenta"], strict=True))
        self._size = self._actuator.set(self._size)
        self._pass_on_batch()

    # Telling.

    def _tell_change(self, epoch: int) -> None:
        if self._said is not None and self._size != self._said:
            line = f"an update takes {self._size} samples, up to now {self._said}"
            tell(self, line, epoch=epoch)
            self._said = self._size

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if not self._is_compared:
            self._compare(is_only=True)
        self._tell_change(epoch)
        if self.remainder == "flush":
            self.pipeline.flush()
        self._last_logs = dict(logs or {})
        if logs is not None:
            logs["batch_size"] = self._size
            if "noise" in self._signals:
                logs["gradient_noise_scale"] = self._signals["noise"].read()
            if self._rate is not None:
                logs["learning_rate_gain"] = self._rate.gain
        super().on_epoch_end(epoch, logs)


def _as_policy(policy: Any) -> BatchSizePolicy:
    if isinstance(policy, list | tuple):
        check_stages(policy, "policy")
        return Staged(policy)
    if isinstance(policy, str) and policy == "noise_scale":
        return NoiseScale()
    require(
        isinstance(policy, BatchSizePolicy),
        "policy",
        policy,
        'a list of (epoch, factor), "noise_scale" or a BatchSizePolicy',
    )
    return policy
