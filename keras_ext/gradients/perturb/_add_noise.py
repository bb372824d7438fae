"""Annealed gradient noise."""

import math
import random
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import checked_seed, number
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._gradient_transform import GradientTransform
from keras_ext._live._hyper_variable import HyperVariable, live_factor


@keras.saving.register_keras_serializable(package="keras_ext")
class AddNoise(GradientTransform):
    """Adds Gaussian noise to the gradient that fades away while training.

    In update `t`, counted from 0, every number of the gradient gets noise of mean 0 and
    variance `scale / (1 + t) ** decay`, independent of the others. Published for very
    deep networks that start from a poor initialization. It does not help those that
    train well without.

    The noise depends on the seed, on how many updates there were, and on the place of
    the weight among all weights: so it is the same on all replicas, and training that
    is saved and loaded goes on with the noise that it would have had. It is added to
    what a clipping transform before it leaves; put it before one to have it clipped.
    A gradient of zero gets noise too.

    Args:
        scale: Number >= 0, the variance of the noise in the first update. The authors
            try 0.01, 0.3 and 1. A `HyperVariable` that may change while training.
            Defaults to `0.01`.
        decay: Number >= 0; how fast the variance falls. A `HyperVariable`.
            Defaults to `0.55`.
        seed: Integer in [0, 2**31) that chooses the noise. None draws one, which
            `keras.utils.set_random_seed` makes reproducible.
        include: Which variables get noise: a regular expression that is searched in
            `variable.path`, a list of them, or a function. None means all.
        exclude: Which do not, in the same form. None means none.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [kx.gradients.AddNoise(0.01, seed=0)]
        ... )
        >>> kernel = keras.Variable(keras.ops.zeros(1000), name="kernel")
        >>> optimizer.apply([keras.ops.ones(1000)], [kernel])
        >>> print(kernel.numpy().mean().round(1), kernel.numpy().std().round(1))
        -1.0 0.1

    References:
        - [Neelakantan et al., 2015](https://arxiv.org/abs/1511.06807)
    """

    def __init__(
        self,
        scale: float = 0.01,
        *,
        decay: float = 0.55,
        seed: int | None = None,
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        self.scale = live_factor(scale, "scale")
        decay = number(decay, "decay", low=0)
        self.decay = HyperVariable(decay, "decay", bounds=(0.0, None))
        self.seed = checked_seed(seed)
        # As Keras draws the seeds of its layers.
        self._first = random.randint(0, 2**31 - 1) if seed is None else self.seed

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        super().build(variables, unit_axes)
        self._place = {id(v): i for i, v in enumerate(variables)}
        # The seed, and how many updates there were. Together they are the key of the
        # noise; saved, so that a loaded one without a seed goes on with this one's.
        self._key = self.add_state(
            (2,), "noise_key", initial=[self._first, 0], dtype="int32"
        )

    def transform(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        key = ops.convert_to_tensor(self._key.value)
        updates = ops.cast(key[1], "float32")
        variance = self.scale.value / ops.power(1.0 + updates, self.decay.value)
        deviation = ops.sqrt(variance)
        noisy = [
            ops.cast(ops.cast(g, "float32") + deviation * self._noise(key, v), g.dtype)
            for g, v in zip(gradients, variables, strict=True)
        ]
        self._key.assign(key + [0, 1])
        return noisy

    def _noise(self, key: Tensor, variable: Variable) -> Tensor:
        place = self._place[id(variable)]
        # By name: the algorithm that TensorFlow chooses depends on the device.
        key = tf.random.experimental.stateless_fold_in(key, place, alg="philox")
        return _standard_normal(key, variable.shape)

    def get_config(self) -> Config:
        return {
            "scale": float(self.scale),
            "decay": float(self.decay),
            "seed": self.seed,
            **super().get_config(),
        }


def _standard_normal(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Normal numbers that depend on nothing but the key.

    Those of TensorFlow are others when XLA compiles the step; only its random bits are
    the same. So this is the method of Box and Muller.
    """
    size = math.prod(shape)
    bits = tf.random.stateless_uniform(
        (2, -(-size // 2)), key, minval=None, maxval=None, dtype=tf.int32, alg="philox"
    )
    # As many bits as float32 holds exactly; within (-1, 1), and never 0.
    uniform = (tf.cast(tf.bitwise.right_shift(bits, 8), "float32") + 0.5) * 2.0**-23
    # Box and Muller: two uniform numbers make two normal ones.
    radius = ops.sqrt(-2.0 * ops.log(ops.abs(uniform[0])))
    angle = math.pi * uniform[1]
    both = ops.concatenate([radius * ops.cos(angle), radius * ops.sin(angle)])
    return ops.reshape(both[:size], shape)
