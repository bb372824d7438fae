"""Slow weights that follow fast ones."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_ext._core._checks import choice, integer, number, require
from keras_ext._core._typing import Config, Optimizer, Strategy, Tensor, Variable
from keras_ext._engine._shown_weights import ShownWeights
from keras_ext._engine._update_wrapper import read
from keras_ext._keras import _replica


@keras.saving.register_keras_serializable(package="keras_ext")
class Lookahead(ShownWeights):
    """Lets slow weights follow the fast ones of another optimizer.

    The wrapped optimizer trains the fast weights. Every `sync_period` updates the slow
    ones move by `slow_step_size` of the distance towards them, and the fast ones begin
    again from there. This damps oscillations, and makes the result depend less on the
    learning rate. It costs one more number per weight, and next to no time.

    The model is evaluated, saved and predicts with the slow weights, and has them after
    `fit`; the fast ones are kept, and the next `fit` goes on with them. So up to
    `sync_period - 1` updates do not show yet. With `BatchNormalization` in the model
    give `fit` the callback `keras_ext.callbacks.RecalibrateBatchNorm`.

    Args:
        optimizer: The optimizer to wrap, its name or its config.
        sync_period: Integer >= 1, how many updates of the fast weights there are to one
            of the slow ones. Defaults to `5`.
        slow_step_size: Number in (0, 1], by which part of the distance the slow weights
            move. Defaults to `0.5`.
        momentum: What becomes of the momentum of the wrapped optimizer when the weights
            meet: `"keep"`, `"reset"` to zero, or `"pullback"`, interpolated as the
            weights are, for one more number per weight. Defaults to `"keep"`.
        name: Name of the optimizer. None means the name of the class.

    Raises:
        ValueError: If an argument is not of this form, or when it is built, if there is
            no momentum to be reset or pulled back.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> sgd = keras.optimizers.SGD(1.0)
        >>> optimizer = kx.optimizers.Lookahead(sgd, sync_period=2)
        >>> weight = keras.Variable([0.0], name="weight")
        >>> for _ in range(2):
        ...     optimizer.apply([keras.ops.array([-1.0])], [weight])
        >>> print(weight.numpy())  # half of the way to 2
        [1.]

    References:
        - [Zhang et al., 2019](https://arxiv.org/abs/1907.08610)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        sync_period: int = 5,
        slow_step_size: float = 0.5,
        momentum: str = "keep",
        name: str | None = None,
    ) -> None:
        super().__init__(optimizer, name=name)
        self.sync_period = integer(sync_period, "sync_period", low=1)
        self.slow_step_size = number(slow_step_size, "slow_step_size", above=0, high=1)
        words = ("keep", "reset", "pullback")
        # Not `momentum`, which outsiders ask the wrapped optimizer for.
        self.momentum_rule = choice(momentum, "momentum", words)

    def build_state(self, variables: Sequence[Variable]) -> None:
        self.add_slots(variables, "slow", copied=True)
        momenta = self._momenta()
        require(
            bool(momenta) or self.momentum_rule == "keep",
            "momentum",
            self.momentum_rule,
            '"keep" for an optimizer without momentum',
        )
        if self.momentum_rule == "pullback":
            self.add_slots(momenta, "slow_momentum")

    def _momenta(self) -> list[Variable]:
        found = self.inner_optimizer.variables
        # Keras has no other mark of them.
        return [v for v in found if v.name.endswith("momentum")]

    def after_update(self, strategy: Strategy, made: Tensor) -> None:
        due = tf.equal(self.counted() % self.sync_period, 0)
        tf.cond(
            tf.logical_and(due, made),
            lambda: _replica.each_replica(strategy, self._synchronize),
            lambda: None,
        )

    def _synchronize(self) -> None:
        self._pull(self.weights, self.slots("slow", self.weights))
        if self.momentum_rule == "pullback":
            momenta = self._momenta()
            self._pull(momenta, self.slots("slow_momentum", momenta))
        elif self.momentum_rule == "reset":
            zeros = [tf.zeros_like(_replica.native(v)) for v in self._momenta()]
            self.write(self._momenta(), zeros, None)

    def _pull(self, fast: Sequence[Variable], slow: Sequence[Variable]) -> None:
        pairs = zip(read(fast), read(slow), strict=True)
        met = [s + self.slow_step_size * (f - s) for f, s in pairs]
        self.write([*slow, *fast], [*met, *met], None)

    def to_shown(self) -> None:
        slow = self.slots("slow", self.weights)
        self.write([*self.weights, *slow], [*read(slow), *read(self.weights)], None)

    def to_trained(self) -> None:
        # Weights and slow ones change places, which undoes itself.
        self.to_shown()

    def restart(self) -> None:
        self.write(self.slots("slow", self.weights), read(self.weights), None)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "sync_period": self.sync_period,
            "slow_step_size": self.slow_step_size,
            "momentum": self.momentum_rule,
        }
