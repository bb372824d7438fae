"""Grows the batch while training."""

from typing import Any

from keras_ext.callbacks._gradient_callback import GradientCallback
from keras_ext.controllers.batch_size import NoiseScaleGrowth, Staged
from keras_ext.core._checks import is_integer, require
from keras_ext.core._typing import Logs
from keras_ext.optimizers._attached_pipeline import AttachedPipeline
from keras_ext.signals._gradient_noise_scale import GradientNoiseScale


class DynamicBatchSize(GradientCallback):
    """Grows the effective batch size in the middle of `fit`, by accumulation.

    `fit` keeps delivering batches of the same size, from whatever source. One update
    of the weights is made of the mean gradient of `factor` of them, and the factor
    changes between epochs: as listed, or with the measured gradient noise scale. So
    shapes stay static and nothing is retraced; the samples per second stay the same,
    and the updates become fewer. `optimizer.iterations`, and with it a learning-rate
    schedule, counts updates. Growing the batch does what lowering the learning rate
    does; the learning rate itself is left alone.

    Batches that are left at the end of an epoch count towards the next update; at the
    end of training they make a last, smaller one. Every batch counts the same, also a
    last one with fewer samples. Batch normalization still sees the small batches.

    Logs `batch_size`, the effective one; `noise_scale`, in samples (NaN while unknown),
    if that is measured; and `nonfinite_steps`, the updates left out so far.

    Args:
        policy: List of pairs `(epoch, factor)`: from this epoch on, counted from 0, an
            update takes so many batches. Or `"noise_scale"`: double the factor when the
            gradient noise scale has grown to twice the batch.
        batch_size: Integer >= 1, the batch size that `fit` is given, over all replicas.
        max_batch_size: Integer >= `batch_size`, the largest effective batch size with
            `"noise_scale"`. None means 32 times `batch_size`.
        nonfinite: `"skip"` to leave out updates whose gradient is NaN or infinite,
            `"raise"` to also end the training. Defaults to `"skip"`.

    Raises:
        ValueError: If an argument is out of range, or, when training begins, if the
            model has no optimizer or does not use it.
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
    """

    def __init__(
        self,
        policy: Any,
        batch_size: int,
        max_batch_size: int | None = None,
        nonfinite: str = "skip",
    ) -> None:
        super().__init__(nonfinite=nonfinite)
        require(
            is_integer(batch_size) and batch_size >= 1,
            "batch_size",
            batch_size,
            "an integer >= 1",
        )
        require(
            max_batch_size is None
            or (is_integer(max_batch_size) and max_batch_size >= batch_size),
            "max_batch_size",
            max_batch_size,
            f"an integer >= batch_size={batch_size}, or None",
        )
        require(
            isinstance(policy, list | tuple) or policy == "noise_scale",
            "policy",
            policy,
            'a list of (epoch, factor), or "noise_scale"',
        )
        require(
            max_batch_size is None or policy == "noise_scale",
            "max_batch_size",
            max_batch_size,
            'None when the policy is not "noise_scale"',
        )
        self.policy = policy
        self.batch_size = batch_size
        self.max_batch_size = max_batch_size
        self._new_policy()  # raises if the list is not valid

    def _new_policy(self) -> Staged | NoiseScaleGrowth:
        if self.policy == "noise_scale":
            most = self.max_batch_size or 32 * self.batch_size
            return NoiseScaleGrowth(largest=most // self.batch_size)
        return Staged(self.policy)

    def install(self, pipeline: AttachedPipeline) -> None:
        self._policy = self._new_policy()
        pipeline.allow_accumulation(self._policy.largest)
        self._signal = None
        if self.policy == "noise_scale":
            self._signal = GradientNoiseScale()
            pipeline.add_signal(self._signal)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        factor = self._policy.update(epoch=epoch, noise_scale=self._noise_scale())
        self.pipeline.accumulation_steps.assign(factor)

    def _noise_scale(self) -> float:
        """The noise scale in units of the batch that `fit` delivers."""
        if self._signal is None:
            return float("nan")
        replicas = self.model.distribute_strategy.num_replicas_in_sync
        return self._signal.read() / replicas

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            factor = int(self.pipeline.accumulation_steps)
            logs["batch_size"] = self.batch_size * factor
            if self._signal is not None:
                logs["noise_scale"] = self.batch_size * self._noise_scale()
        super().on_epoch_end(epoch, logs)
