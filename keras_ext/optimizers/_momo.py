"""SGD with momentum whose rate comes from the loss."""

from collections.abc import Callable, Mapping, Sequence
from typing import Unpack

import keras
import tensorflow as tf
from keras import ops

from keras_ext._core._checks import flag, number, require
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._measured_rule import MeasuredRule, divided, half_square
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
    Slot,
)
from keras_ext._keras import _replica

_SEE = "shown the loss, by `loss = optimizer.scale_loss(loss)` as in `fit`"
_SCALED = (
    "A LossScaleOptimizer keeps it to itself: take mixed_bfloat16, or put a "
    "GradientPipeline around that one, and compile with auto_scale_loss=False."
)


@keras.saving.register_keras_serializable(package="keras_ext")
class Momo(MeasuredRule):
    """SGD with momentum that takes its rate from how far the loss is from its bound.

    Losses and gradients of the last updates make a model of the loss, a plane that is
    cut off at `lower_bound`. An update goes to where that model is lowest, but not
    further than SGD with `learning_rate` would: the rate is the smaller one of
    `learning_rate` and a Polyak step. So `learning_rate` may be chosen too large by
    some orders of magnitude, and the rate falls by itself as the loss does. It needs a
    loss that is bounded from below, as nearly all are by 0, and that comes near it.

    It sees the loss in `scale_loss`, which `fit` calls in every step; a loop of your
    own has to, as well: `loss = optimizer.scale_loss(loss)`, within the tape. When
    several losses are shown before an update, as when accumulating, their mean counts;
    those that are not finite do not.

    The rate of the last update is in `optimizer.last_rate`.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments; the largest rate. Defaults to `1.0`.
        beta: Number in [0, 1), how much of the averages of losses and of gradients is
            kept in an update. Defaults to `0.9`.
        lower_bound: Number; the loss is never less, and hopefully not much more in the
            end. Defaults to `0.0`.
        adapt_lower_bound: Whether to raise the bound while training, by an estimate of
            the smallest loss; where that is far from `lower_bound`.
            Defaults to `False`.
        weight_decay: Number >= 0, a penalty that is minimized along: a weight is
            divided by one plus it times `learning_rate`. None means none.
        **options: What every optimizer of Keras takes: `clipnorm`, `clipvalue`,
            `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps` and `name`.

    Raises:
        ValueError: If an argument is out of range, or, in the first update, if it was
            not shown the loss. A `LossScaleOptimizer`, which `compile` puts around it
            in mixed_float16, does not: take mixed_bfloat16, or put a
            `GradientPipeline` around both and compile with `auto_scale_loss=False`,
            which Keras forgets when it loads the model from a file.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> weight = keras.Variable(3.0, name="weight")
        >>> optimizer = kx.optimizers.Momo(100.0)
        >>> for _ in range(30):
        ...     loss = optimizer.scale_loss(weight**2 / 2)
        ...     optimizer.apply([weight + 0.0], [weight])
        >>> abs(float(weight)) < 1, float(optimizer.last_rate) < 1
        (True, True)

    References:
        - [Schaipp et al., 2023](https://arxiv.org/abs/2305.07583)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1.0,
        *,
        beta: float = 0.9,
        lower_bound: float = 0.0,
        adapt_lower_bound: bool = False,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        self.beta = number(beta, "beta", low=0, below=1)
        self.lower_bound = number(lower_bound, "lower_bound")
        self.adapt_lower_bound = flag(adapt_lower_bound, "adapt_lower_bound")
        self._was_shown = False
        # Losses since the last update. They are there before the optimizer is built,
        # in `scale_loss` of the first step. A replica adds what it has, so they are
        # written in replica context, where the numbers of a rule are not.
        # Keras divides the loss of a replica by their number: the sum over them is a
        # mean, that of counts would not be.
        self._losses = {
            name: self.add_variable((), aggregation=together, name=name)
            for name, together in (("loss_sum", "sum"), ("loss_count", "mean"))
        }

    @property
    def last_rate(self) -> Variable:
        """The rate of the last update."""
        return self.number_of("last_rate")

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        return {"momentum": Slot()}

    def numbers(self) -> Mapping[str, float | Callable[[Sequence[Variable]], Tensor]]:
        averages = dict.fromkeys(("loss_average", "product_average", "last_rate"), 0.0)
        return {**averages, "bound": self.lower_bound}

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._state.numbers.update(self._losses)

    def scale_loss(self, loss: Tensor) -> Tensor:
        self.see_loss(loss)
        return super().scale_loss(loss)

    def see_loss(self, loss: Tensor) -> None:
        """Takes in the loss of a batch, or of the part of it on this replica.

        Args:
            loss: What is to be derived, before it is scaled.
        """
        seen = tf.stop_gradient(tf.cast(loss, tf.float32))
        # In the average, one NaN would stay for ever.
        finite = tf.math.is_finite(seen)
        self._count_in("loss_sum", tf.where(finite, seen, 0.0))
        self._count_in("loss_count", tf.cast(finite, seen.dtype))
        self._was_shown = True

    def _count_in(self, name: str, value: Tensor) -> None:
        # Keras would add before it sums over the replicas.
        total = _replica.native(self._losses[name])
        total.assign_add(tf.cast(value, total.dtype))

    def coefficients(self, now: Now) -> Tensor:
        require(self._was_shown, "optimizer", self, _SEE, hint=_SCALED)
        # Averages begin at the first values, and not at zero. `decide` takes this out
        # again.
        beta = ops.where(ops.equal(now.step, 1), 0.0, self.beta)
        # With a floatx of float64, `where` makes a float64 of two Python numbers.
        now.numbers["beta"] = ops.cast(beta, now.rate.dtype)
        return now

    def measure(self, part: Part, given: Now) -> tuple[Tensor, ...]:
        momentum = part.average("momentum", part.gradient, given.numbers["beta"])
        shrinks = _shrinkage(part, given)
        return (
            ops.sum(part.gradient * part.value),
            ops.sum(momentum * part.value),
            ops.sum(momentum * part.value) / shrinks,
            half_square(momentum),
            half_square(momentum) / shrinks,
        )

    def decide(self, rows: Sequence[Tensor], now: Now, given: Now) -> Tensor:
        product, along, along_shrunk, square, square_shrunk = map(ops.sum, rows)
        numbers, share = now.numbers, 1 - now.numbers.pop("beta")
        average = numbers["loss_average"]
        total, count = (ops.cast(numbers[n], average.dtype) for n in self._losses)
        loss = divided(total, by=count, otherwise=average)
        loss = _towards(average, loss, share)
        product = _towards(numbers["product_average"], product, share)
        bound, lowest = numbers["bound"], ops.cast(self.lower_bound, loss.dtype)
        # As in the paper, but numerator and divisor have both been divided by the
        # shrinkage, which weights that are excluded from decay do not have.
        height = loss - product + along_shrunk
        if self.adapt_lower_bound:
            # A bound above the model of the loss is too high: it is lowered.
            lower = ops.maximum(height / 2, lowest)
            bound = ops.where(height < bound, lower, bound)
        polyak = divided(
            ops.maximum(height - bound, 0.0), by=2 * square_shrunk, otherwise=0.0
        )
        rate = ops.minimum(now.rate, polyak)
        if self.adapt_lower_bound:
            # Below the model at the old weights by half of what this step promises.
            bound = ops.maximum(loss - product + along - rate * square, lowest)
        numbers.update(loss_average=loss, product_average=product, bound=bound)
        numbers.update(last_rate=rate, **{n: ops.zeros(()) for n in self._losses})
        return rate

    def change(self, part: Part, given: Now) -> Tensor:
        return part.slots["momentum"] * part.factor

    def moved(self, part: Part, change: Tensor, now: Now) -> Tensor:
        return (part.value - change) / _shrinkage(part, now)


def _shrinkage(part: Part, now: Now) -> Tensor:
    """What weight decay divides a weight by."""
    if part.decay is None:
        return ops.ones_like(now.rate)
    return 1 + now.rate * part.decay


def _towards(average: Tensor, value: Tensor, share: Tensor) -> Tensor:
    return average + (value - average) * share
