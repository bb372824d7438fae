"""What the layers that are random while training have in common."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_ext._core._checks import checked_seed, is_integer, number, require
from keras_ext._core._typing import Config, Shape, Tensor
from keras_ext._live._dropout_kernel import LARGEST_RATE
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext._live._live_attributes import LiveAttributes
from keras_ext.layers.dropout._replica_seeds import ReplicaSeeds


class NoiseLayer(LiveAttributes, keras.layers.Layer):
    """Base of layers that are random while training, by numbers that are live.

    A subclass puts `HyperVariable`s into attributes, and overrides `noisy`.

    Args:
        seed: Integer seed of the noise. None means random.
        **kwargs: As in `keras.layers.Layer`.
    """

    def __init__(self, seed: int | None = None, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.seed = checked_seed(seed)
        self.seed_generator = ReplicaSeeds(self.seed)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        self.build_hyper_variables()

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        return self.noisy(inputs) if training else inputs

    def noisy(self, inputs: Tensor) -> Tensor:
        """What becomes of the inputs while training."""
        raise NotImplementedError

    def sample(self, inputs: Tensor) -> Tensor:
        """The outputs with noise, in inference too; training does not notice."""
        # Not of the instance: that may be what calls this.
        return type(self).call(self, inputs, training=True)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> Config:
        return {**super().get_config(), **self.live_config(), "seed": self.seed}


class DroppingLayer(NoiseLayer):
    """Base of layers that drop inputs at a live rate.

    Args:
        rate: Number in [0, 0.95], the probability of dropping.
        seed: As in `NoiseLayer`.
        **kwargs: As in `keras.layers.Layer`.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.rate = HyperVariable(
            number(rate, "rate", low=0, high=LARGEST_RATE),
            "rate",
            bounds=(0.0, LARGEST_RATE),
            scale="logit",
        )


def checked_noise_shape(
    noise_shape: Sequence[int | None] | None,
) -> tuple[int | None, ...] | None:
    """The noise shape as a tuple, if it is one."""
    require(
        noise_shape is None
        or isinstance(noise_shape, tuple | list)
        and all(n is None or (is_integer(n) and n >= 1) for n in noise_shape),
        "noise_shape",
        noise_shape,
        "a list of integers >= 1 and None, or None",
    )
    return None if noise_shape is None else tuple(noise_shape)
