"""Cosine decay again and again, with a warm-up each time."""

import keras
from keras import ops

from keras_ext._core._checks import integer, number, require
from keras_ext._core._typing import Tensor
from keras_ext.schedules._anneal import anneal
from keras_ext.schedules._schedule import Schedule

# No training has more updates; and of cycles that hardly grow, so many do.
_LAST_STEP, _MOST_CYCLES = 2**31, 1000


@keras.saving.register_keras_serializable(package="keras_ext")
class CosineRestartsWithWarmup(Schedule):
    """Warms up and decays by a cosine, again and again (SGDR with warm-up).

    It is `keras.optimizers.schedules.CosineDecayRestarts`, whose names it has, with a
    linear warm-up, from the lowest rate, in place of each jump. The cycles begin at
    whole numbers of updates. Weights from the ends of the cycles can be averaged or
    used as an ensemble.

    Args:
        initial_learning_rate: Number > 0, the largest rate of the first cycle.
        first_decay_steps: Integer >= 1, the updates of the first cycle, with its
            warm-up.
        warmup_steps: Integer >= 0, the updates of each warm-up, fewer than a cycle has.
            Defaults to `0`.
        t_mul: Number >= 1, how many times as long as the one before a cycle is.
            Defaults to `2.0`.
        m_mul: Number > 0, how many times as high it is, above the lowest rate.
            Defaults to `1.0`.
        alpha: Number in [0, 1], the lowest rate as a share of `initial_learning_rate`.
            Defaults to `0.0`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> schedule = kx.schedules.CosineRestartsWithWarmup(
        ...     1.0, 4, warmup_steps=2, t_mul=1.0, m_mul=0.5
        ... )
        >>> [round(float(schedule(step)), 2) for step in range(9)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.25, 0.5, 0.25, 0.0]

    References:
        - [Loshchilov and Hutter, 2016](https://arxiv.org/abs/1608.03983)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        *,
        warmup_steps: int = 0,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
    ) -> None:
        self.initial_learning_rate = number(
            initial_learning_rate, "initial_learning_rate", above=0
        )
        self.first_decay_steps = integer(first_decay_steps, "first_decay_steps", low=1)
        self.warmup_steps = integer(warmup_steps, "warmup_steps", low=0)
        shorter = self.warmup_steps < self.first_decay_steps
        rule = f"below first_decay_steps, {self.first_decay_steps}"
        require(shorter, "warmup_steps", warmup_steps, rule)
        self.t_mul = number(t_mul, "t_mul", low=1)
        self.m_mul = number(m_mul, "m_mul", above=0)
        self.alpha = number(alpha, "alpha", low=0, high=1)

    def _cycles(self) -> tuple[list[float], list[float]]:
        """Where the cycles begin, and their lengths; the last one comes again."""
        begins, lengths = [0.0], [float(self.first_decay_steps)]
        while self.t_mul > 1 and len(begins) < _MOST_CYCLES:
            begin = begins[-1] + lengths[-1]
            if begin > _LAST_STEP:
                break
            power = self.t_mul ** len(begins)
            begins.append(begin)
            # From the first one, so that roundings do not add up.
            lengths.append(float(round(self.first_decay_steps * power)))
        return begins, lengths

    def value(self, step: Tensor) -> Tensor:
        number_of, place, length = self._located(step)
        warm = self.warmup_steps
        left = ops.clip((length - place) / (length - warm), 0.0, 1.0)
        fall = anneal(1 - left, 0, 1, (1.0, 0.0), "cos")
        # `where` computes both, so the divisor must not be 0.
        height = ops.where(place < warm, place / max(warm, 1), fall)
        height = height * ops.power(self.m_mul, number_of)
        return self.initial_learning_rate * (self.alpha + (1 - self.alpha) * height)

    def _located(self, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The number of the cycle, the step in it, and its length."""
        begins, lengths = self._cycles()
        is_past = ops.cast(ops.expand_dims(step, -1) >= ops.array(begins), "int32")
        index = ops.sum(is_past, axis=-1) - 1
        length = ops.take(ops.array(lengths), index)
        place = step - ops.take(ops.array(begins), index)
        again = ops.floor(place / length)
        return ops.cast(index, "float32") + again, place - again * length, length
