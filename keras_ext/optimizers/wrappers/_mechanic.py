"""A learning rate that is learned while training."""

from collections.abc import Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import integer, number
from keras_ext._core._typing import Config, Optimizer, Tensor, Variable
from keras_ext._engine._update_wrapper import Apply, UpdateWrapper, read
from keras_ext._keras import _replica


@keras.saving.register_keras_serializable(package="keras_ext")
class Mechanic(UpdateWrapper):
    """Learns a factor by which to scale the updates of another optimizer.

    The updates of the wrapped optimizer are summed, and the weights are where training
    began plus a factor times the sum. The factor starts tiny and grows as long as
    gradients agree with the way that was gone. Several running estimates, which forget
    at different speeds, share it. So give the wrapped optimizer any learning rate, 1.0
    or its default: what remains of it is its schedule, that is, its course relative to
    the largest value, which still matters.

    In measurements it makes a bad rate harmless, but is not as good as a tuned rate:
    see the guide on wrapping optimizers. It needs about a hundred updates to find the
    factor.

    It works with SGD, Adam, Lion and other first-order optimizers, not with those that
    normalize by the norm of weights, such as LAMB. Costs one number per weight.

    Args:
        optimizer: The optimizer to wrap, its name or its config. A `GradientPipeline`
            that accumulates has to be around this one instead.
        num_betas: Integer in [1, 7], how many estimates there are; they forget at the
            rates 0.9, 0.99 and so on. Defaults to `6`.
        initial_scale: Number > 0, the factor at first. Defaults to `1e-6`.
        decay: Number >= 0, how strongly weights are pulled to zero in the estimates, in
            proportion to the gradient and to the factor. It is no decay of the
            updates. Defaults to `0.01`.
        epsilon: Number > 0, for numerical stability. Defaults to `1e-8`.
        name: Name of the optimizer. None means the name of the class.

    Raises:
        ValueError: If an argument is not of this form; or when it is built, if a weight
            has a constraint.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.Mechanic(keras.optimizers.SGD(1.0))
        >>> weight = keras.Variable([3.0], name="weight")
        >>> for _ in range(30):  # of the loss weight**2 / 2
        ...     optimizer.apply([weight.value], [weight])
        >>> optimizer.scale > 1000 * optimizer.initial_scale
        True

    References:
        - [Cutkosky et al., 2023](https://arxiv.org/abs/2306.00144)
    """

    needs_whole_gradient: ClassVar[bool] = True
    scales_moves: ClassVar[bool] = True
    allows_constraints: ClassVar[bool] = False

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        num_betas: int = 6,
        initial_scale: float = 1e-6,
        decay: float = 0.01,
        epsilon: float = 1e-8,
        name: str | None = None,
    ) -> None:
        super().__init__(optimizer, name=name)
        # The eighth, 1 - 1e-8, is 1 in float32: it would forget nothing.
        self.num_betas = integer(num_betas, "num_betas", low=1, high=7)
        self.initial_scale = number(initial_scale, "initial_scale", above=0)
        self.decay = number(decay, "decay", low=0)
        self.scale_epsilon = number(epsilon, "epsilon", above=0)

    @property
    def scale(self) -> float:
        """By which factor the updates are scaled."""
        if not self.built:
            return self.initial_scale
        return float(np.sum(keras.ops.convert_to_numpy(self._scales)))

    def build_state(self, variables: Sequence[Variable]) -> None:
        # The way that was gone, unscaled, with its sign changed. Keeping where training
        # began in its place, as others do, loses the way in rounding: the factor that
        # the distance would be divided by starts at a millionth.
        self.add_slots(variables, "way")
        shape = (self.num_betas,)
        self._rewards, self._maxima, self._variances = (
            self.add_number(name, shape=shape)
            for name in ("rewards", "maxima", "variances")
        )
        self._scales = self.add_number("scales", self.initial_scale, shape)

    def update(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable], apply: Apply
    ) -> None:
        count, scales = self.counted(), tf.identity(_replica.native(self._scales))
        # All weights have a part in the factor and follow it, also those that have no
        # gradient this time.
        gradient_of = {id(v): g for v, g in zip(variables, gradients, strict=True)}
        before = read(self.weights)
        zeros = [gradient_of.get(id(v)) for v in self.weights]
        full = [
            tf.zeros_like(x) if g is None else tf.cast(g, x.dtype)
            for g, x in zip(zeros, before, strict=True)
        ]
        apply(gradients)
        slots = self.slots("way", self.weights)
        ways, moved = read(slots), read(self.weights)
        old = tf.reduce_sum(scales)
        agreement = self._agreement(full, before, ways, old)
        numbers = self._learned(agreement, scales)
        new = tf.reduce_sum(numbers[-1])
        # As where the way is divided out of the distance, with this in the divisor.
        shrunk = old / (old + self.scale_epsilon)
        ways_on, values = [], []
        for way, start, end in zip(ways, before, moved, strict=True):
            on = tf.cast(shrunk, way.dtype) * way - (end - start)
            began = start + tf.cast(old, way.dtype) * way
            ways_on.append(on)
            values.append(began - tf.cast(new, way.dtype) * on)
        made = self.made_since(count)
        self.write([*slots, *self.weights], [*ways_on, *values], made)
        self.write(
            [self._rewards, self._maxima, self._variances, self._scales], numbers, made
        )

    def _agreement(
        self,
        gradients: Sequence[Tensor],
        weights: Sequence[Tensor],
        ways: Sequence[Tensor],
        scale: Tensor,
    ) -> Tensor:
        """The inner product of the gradient, with decay, and the way that was gone."""
        norms = [_norm(gradients), _norm(weights)]
        pull = self.decay * scale * norms[0] / (norms[1] + self.scale_epsilon)
        products = [
            tf.reduce_sum(tf.cast((g + tf.cast(pull, g.dtype) * w) * way, tf.float32))
            for g, w, way in zip(gradients, weights, ways, strict=True)
        ]
        return tf.add_n(products) * scale / (scale + self.scale_epsilon)

    def _learned(self, agreement: Tensor, scales: Tensor) -> list[Tensor]:
        """The new rewards, maxima, variances and scales, a number for each beta."""
        betas = tf.constant(1.0 - 0.1 ** np.arange(1, self.num_betas + 1), tf.float32)
        rewards, maxima, variances = (
            tf.identity(_replica.native(v))
            for v in (self._rewards, self._maxima, self._variances)
        )
        # By the maxima before this one, which the next line raises.
        clipped = tf.minimum(tf.maximum(agreement, -maxima), maxima)
        maxima = tf.maximum(betas * maxima, tf.abs(agreement) + self.scale_epsilon)
        variances = betas**2 * variances + agreement**2
        rewards = betas * rewards + clipped * scales
        wealth = self.initial_scale / self.num_betas * maxima + tf.nn.relu(rewards)
        scales = wealth / (tf.sqrt(variances) + self.scale_epsilon)
        return [rewards, maxima, variances, scales]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "num_betas": self.num_betas,
            "initial_scale": self.initial_scale,
            "decay": self.decay,
            "epsilon": self.scale_epsilon,
        }


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return tf.sqrt(tf.reduce_sum(_replica.squared_norms(tensors)))
