"""Dropout with a schedule of its own."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ext._core._checks import choice, integer, number
from keras_ext._core._typing import Config, Shape, Tensor, Variable
from keras_ext._live._dropout_kernel import live_dropout, resolved_noise_shape
from keras_ext.layers.dropout._noise_layer import DroppingLayer, checked_noise_shape

SCHEDULES = ("linear", "curriculum", "annealed", "cosine", "early", "late")
# Morerio et al. choose it such that the rate is all but reached at the end.
_CURRICULUM_SPEED = 10.0
# 50 of the 300 epochs of Liu et al.
_CUTOFF = 1 / 6


@keras.saving.register_keras_serializable(package="keras_ext")
class ScheduledDropout(DroppingLayer):
    """Drops inputs at a rate that follows a schedule over the training.

    The layer counts the batches it is trained on, in a variable that is saved with its
    weights, so a training that is resumed goes on where it was. With `t` for the part
    of `total_steps` that is done, the rate is `rate` times

    - `"linear"`: `t`, up to 1. For regularizers that disturb the first steps.
    - `"curriculum"`: `1 - exp(-10 t)`. Easy at first, and hard for most of the time.
    - `"annealed"`: `1 - t`, down to 0. Explores early, converges without noise.
    - `"cosine"`: `(1 + cos(pi t)) / 2`, down to 0; as annealed, with a slow start and
      end.
    - `"early"`: `1 - t / cutoff`, down to 0 at the cutoff. For models that underfit:
      published to lower the training loss.
    - `"late"`: 0 before the cutoff, and 1 from there on. For models that overfit late.

    `rate` is live, too: assign it to change the height of the schedule. For any other
    schedule, and for the layers of Keras, take
    `keras_ext.callbacks.HyperparameterScheduler`.

    A batch counts once for every time the layer is called on it. Masking: the mask is
    passed on unchanged.

    Args:
        rate: Number in [0, 0.95], the largest rate of the schedule.
        total_steps: Integer >= 1, the number of batches the schedule takes.
        schedule: One of the names above. Defaults to `"linear"`.
        cutoff: Number in (0, 1], the part of `total_steps` at which `"early"` ends and
            `"late"` begins. None means a sixth.
        noise_shape: Shape of the mask, as in `keras_ext.layers.LiveDropout`. None
            means one mask value per input.
        seed: Integer seed of the mask. None means random.
        **kwargs: `name`, `dtype` and `trainable`, as in `keras.layers.Layer`.

    Call arguments:
        inputs: Floating-point tensor of any rank.
        training: Whether to drop, and to count. Defaults to `False`.

    Output shape:
        The shape of the inputs.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> layer = kx.layers.ScheduledDropout(0.5, total_steps=10, schedule="annealed")
        >>> x = np.ones((2, 3), "float32")
        >>> for _ in range(5):
        ...     y = layer(x, training=True)
        >>> layer.present_rate
        0.25

    References:
        - [Morerio et al., 2017](https://arxiv.org/abs/1703.06229), curriculum
        - [Rennie et al., 2014](https://doi.org/10.1109/SLT.2014.7078567), annealed
        - [Liu et al., 2023](https://arxiv.org/abs/2303.01500), early and late
    """

    def __init__(
        self,
        rate: float,
        total_steps: int,
        *,
        schedule: str = "linear",
        cutoff: float | None = None,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(rate, seed, **kwargs)
        self.total_steps = integer(total_steps, "total_steps", low=1)
        self.schedule = choice(schedule, "schedule", SCHEDULES)
        self.cutoff = number(cutoff, "cutoff", above=0, high=1, optional=True)
        self.noise_shape = checked_noise_shape(noise_shape)

    @property
    def present_rate(self) -> float:
        """The rate of the next batch."""
        rate = self._rate_at(self.steps.value if self.built else 0)
        # Without the digits that float32 adds to a rate such as 0.1.
        return float(f"{float(rate):.6g}")

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        # Every replica counts for itself, and they all count the same. Of 64 bits, as
        # TensorFlow keeps integers of 32 off the accelerator.
        self.steps = self.add_weight(
            shape=(), dtype="int", initializer="zeros", trainable=False, name="steps"
        )

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        outputs = super().call(inputs, training)
        if training:
            self.steps.assign_add(1)
        return outputs

    def sample(self, inputs: Tensor) -> Tensor:
        return self.noisy(inputs)

    def noisy(self, inputs: Tensor) -> Tensor:
        rate = self._rate_at(self.steps.value)
        shape = resolved_noise_shape(self.noise_shape, inputs)
        return live_dropout(inputs, rate, shape, self.seed_generator)

    def _rate_at(self, steps: Tensor | Variable) -> Tensor:
        done = ops.minimum(ops.cast(steps, "float32") / self.total_steps, 1.0)
        return ops.multiply(self.rate.value, self._share(done))

    def _share(self, done: Tensor) -> Tensor:
        cutoff = _CUTOFF if self.cutoff is None else self.cutoff
        if self.schedule == "linear":
            return done
        if self.schedule == "curriculum":
            return 1.0 - ops.exp(-_CURRICULUM_SPEED * done)
        if self.schedule == "annealed":
            return 1.0 - done
        if self.schedule == "cosine":
            return 0.5 * (1.0 + ops.cos(math.pi * done))
        if self.schedule == "early":
            return ops.maximum(1.0 - done / cutoff, 0.0)
        return ops.cast(done >= cutoff, "float32")

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "total_steps": self.total_steps,
            "schedule": self.schedule,
            "cutoff": self.cutoff,
            "noise_shape": self.noise_shape,
        }
