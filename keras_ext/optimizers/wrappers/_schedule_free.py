"""Averaging in place of a schedule."""

from collections.abc import Sequence
from typing import ClassVar

import keras
import tensorflow as tf

from keras_ext._core._checks import flag, integer, number, require
from keras_ext._core._typing import Config, Optimizer, Tensor, Variable
from keras_ext._engine._shown_weights import ShownWeights
from keras_ext._engine._update_wrapper import Apply, read
from keras_ext._keras import _replica


@keras.saving.register_keras_serializable(package="keras_ext")
class ScheduleFree(ShownWeights):
    """Averages weights so that the learning rate needs no schedule.

    With `z` for the weights that an ordinary optimizer would have, `x` for their
    average and `y = (1 - beta) * z + beta * x`: the gradient is taken at `y`, `z` moves
    by the update, and `x` averages all of `z`. The training can stop at any time, and
    is about as good as with a schedule that was made for that time.

    The wrapped optimizer should have no momentum, since `beta` takes its place:

    - `keras.optimizers.SGD(1.0)`,
    - `keras.optimizers.AdamW(0.0025, beta_1=0.0)`, with `warmup_steps`,
    - the same with `rectify=True`, which is RAdam and needs no `warmup_steps`.

    The rate may be larger than without: the authors use up to ten times that of a
    schedule for AdamW, and 10 to 50 times for SGD. Weight decay works at `y`.

    The model is evaluated, saved and predicts with `x`, and has it after `fit`; the
    next `fit` goes on with `y`. With `BatchNormalization` in the model give `fit` the
    callback `keras_ext.callbacks.RecalibrateBatchNorm`, since its statistics are those
    at `y`. Costs one number per weight, `z`. (Keras's `AdamW` keeps a momentum even if
    `beta_1` is 0, one number more than the authors' code.)

    Keras has a `ScheduleFreeAdamW`. On TensorFlow it computes `x` from a `z` that has
    already moved, offers no way to get `x`, and does not weight the average by the rate
    during a warm-up.

    Args:
        optimizer: The optimizer to wrap, its name or its config. It may have no
            averages of its own (`use_ema`).
        beta: Number in (0, 1], how near to the average the gradient is taken. For long
            trainings 0.95 or 0.98 can be better. Defaults to `0.9`.
        warmup_steps: Integer >= 0, for how many updates the learning rate rises
            linearly at first. Defaults to `0`.
        rectify: Whether to multiply the rate by the factor of RAdam, which is small at
            first, and zero in the first few updates. The optimizer has to have a
            `beta_2`. Defaults to `False`.
        weight_power: Number >= 0. Update `t` counts `t ** weight_power` in the average.
            Defaults to `0.0`.
        rate_power: Number >= 0. And it counts the largest rate so far to this power,
            so that a warm-up counts little. Defaults to `2.0`.
        name: Name of the optimizer. None means the name of the class.

    Raises:
        ValueError: If an argument is not of this form, or the optimizer has momentum;
            or when it is built, if a weight has a constraint.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.ScheduleFree(keras.optimizers.SGD(0.5))
        >>> weight = keras.Variable([0.0], name="weight")
        >>> for gradient in (-2.0, -2.0):  # z is 1.0, then 2.0
        ...     optimizer.apply([keras.ops.array([gradient])], [weight])
        >>> with optimizer.evaluation_weights():
        ...     print(weight.numpy())
        [1.5]

    References:
        - [Defazio et al., 2024](https://arxiv.org/abs/2405.15682)
    """

    allows_constraints: ClassVar[bool] = False
    turns_exactly: ClassVar[bool] = False

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        beta: float = 0.9,
        warmup_steps: int = 0,
        rectify: bool = False,
        weight_power: float = 0.0,
        rate_power: float = 2.0,
        name: str | None = None,
    ) -> None:
        super().__init__(optimizer, name=name)
        self.beta = number(beta, "beta", above=0, high=1)
        self.warmup_steps = integer(warmup_steps, "warmup_steps", low=0)
        self.rectify = flag(rectify, "rectify")
        self.weight_power = number(weight_power, "weight_power", low=0)
        self.rate_power = number(rate_power, "rate_power", low=0)
        inner = self.inner_optimizer
        momentum = getattr(inner, "momentum", 0) or getattr(inner, "beta_1", 0)
        hint = "Give it momentum=0.0 or beta_1=0.0: `beta` takes that place."
        fits = not momentum and not inner.use_ema
        rule = "one without momentum and without use_ema"
        require(fits, "optimizer", type(inner).__name__, rule, hint)
        has_beta = getattr(inner, "beta_2", None) is not None
        rule = "False for an optimizer without beta_2"
        require(has_beta or not self.rectify, "rectify", self.rectify, rule)

    def build_state(self, variables: Sequence[Variable]) -> None:
        self.add_slots(variables, "z", copied=True)
        self._largest_rate = self.add_number("largest_rate")
        self._total_weight = self.add_number("total_weight")

    def update(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable], apply: Apply
    ) -> None:
        count, before = self.counted(), read(variables)
        factor = self._factor(tf.cast(count + 1, tf.float32))
        rate = factor * self.rate()
        apply(gradients)
        made = self.made_since(count)
        share = self._share_of_newest(tf.cast(count + 1, tf.float32), rate, made)
        slots = self.slots("z", variables)
        # Its move is in proportion to the rate, so that a factor to it is one to that.
        new_y, new_z = [], []
        for y, after, z in zip(before, read(variables), read(slots), strict=True):
            c, move = tf.cast(share, y.dtype), tf.cast(factor, y.dtype) * (after - y)
            # Of x, y and z, with x put in terms of the others.
            new_y.append((1 - c) * y + c * z + (1 - self.beta * (1 - c)) * move)
            new_z.append(z + move)
        self.write([*variables, *slots], [*new_y, *new_z], made)

    def _share_of_newest(
        self, step: Tensor, rate: Tensor, made: Tensor | None
    ) -> Tensor:
        largest = tf.maximum(_replica.native(self._largest_rate), rate)
        weight = step**self.weight_power * largest**self.rate_power
        total = _replica.native(self._total_weight) + weight
        # While all rates were 0 there are no weights, and nothing has moved.
        share = tf.math.divide_no_nan(weight, total)
        self.write([self._largest_rate, self._total_weight], [largest, total], made)
        return share

    def _factor(self, step: Tensor) -> Tensor:
        """What the rate is multiplied by in update `step`, from 1."""
        factor = tf.ones(())
        if self.warmup_steps:
            factor = tf.minimum(step / self.warmup_steps, 1.0)
        return factor * self._rectification(step) if self.rectify else factor

    def _rectification(self, step: Tensor) -> Tensor:
        # Differences of large numbers.
        step = tf.cast(step, tf.float64)
        # As a tensor, since it may be moved while training.
        beta = tf.convert_to_tensor(self.inner_optimizer.beta_2, tf.float64)
        power = tf.pow(beta, step)
        most = 2.0 / (1.0 - beta) - 1.0
        length = most - 2.0 * step * power / (1.0 - power)
        # No step until the rectification exists: the silent phase of the authors' code.
        ratio = tf.nn.relu(length - 4.0) * (length - 2.0) * most
        ratio /= (most - 4.0) * (most - 2.0) * length
        return tf.cast(tf.sqrt(ratio), tf.float32)

    def to_shown(self) -> None:
        # Solves y = (1 - beta) * z + beta * x, which is trained, for x.
        self._mix((self.beta - 1.0) / self.beta)

    def to_trained(self) -> None:
        self._mix(1.0 - self.beta)

    def _mix(self, share: float) -> None:
        """Moves the weights by a share of the distance to `z`."""
        slots = self.slots("z", self.weights)
        pairs = zip(read(self.weights), read(slots), strict=True)
        self.write(self.weights, [w + share * (z - w) for w, z in pairs], None)

    def restart(self) -> None:
        self.write(self.slots("z", self.weights), read(self.weights), None)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "beta": self.beta,
            "warmup_steps": self.warmup_steps,
            "rectify": self.rectify,
            "weight_power": self.weight_power,
            "rate_power": self.rate_power,
        }
