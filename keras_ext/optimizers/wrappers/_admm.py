"""Alternating directions: an optimizer for the loss, an operator for the penalty."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import keras
import tensorflow as tf

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import flag, integer, number
from keras_ext._core._typing import (
    Config,
    Optimizer,
    Pattern,
    Strategy,
    Tensor,
    Variable,
)
from keras_ext._engine._shown_weights import ShownWeights
from keras_ext._engine._update_wrapper import Apply, read
from keras_ext._keras import _replica
from keras_ext.optimizers.operators._operator import Operator
from keras_ext.optimizers.wrappers._applied_operator import KERNELS, AppliedOperator

# As in section 3.4.1 of Boyd et al.
_TOO_UNEQUAL = 10.0
_RATE_FACTOR = 2.0


@keras.saving.register_keras_serializable(package="keras_ext")
class ADMM(ShownWeights):
    """Makes loss plus penalty small, with any optimizer for the loss.

    The weights `w` have copies `z` that obey the penalty, or lie in the set. The
    optimizer trains `w` on the loss plus `rho / 2 * norm(w - z + u)**2`. Every
    `sync_period` updates the operator makes `z` from `w + u`, and `u` adds up by how
    much they differ, until they do not. Unlike in `Proximal`, the step of the operator
    is `1 / rho`, whatever the optimizer does: so it is right with Adam and any
    operator, and for sets such as `operators.CardinalityProjection` it is the pruning
    of Zhang et al.

    The model is evaluated, saved and predicts with `z`, and has it after `fit`; the
    next `fit` goes on with `w`. With `BatchNormalization` in the model give `fit` the
    callback `keras_ext.callbacks.RecalibrateBatchNorm`. Costs two numbers per chosen
    weight.

    Args:
        optimizer: The optimizer to wrap, its name or its config.
        operator: One of `keras_ext.optimizers.operators`.
        rho: Number > 0, how strongly `w` and `z` are drawn to one another, at first.
            Around the curvature of the loss. Defaults to `0.01`.
        adapt_rho: Whether to double `rho` when `w` and `z` differ more than ten times
            as much as `z` moves, and to halve it in the opposite case.
            Defaults to `True`.
        sync_period: Integer >= 1, how many updates of `w` there are to one of `z`.
            Defaults to `10`.
        include: Which weights are meant: a regular expression that is searched in
            `variable.path`, a list of them, or a function from variable to bool. None
            means all. Defaults to `"kernel|embeddings"`.
        exclude: Which are not, in the same form. None means none.
        unit_axes: What `keras_ext.optimizers.unit_axes(model)` returns, as in
            `Proximal`. None means without.
        name: Name of the optimizer. None means the name of the class.

    Raises:
        ValueError: If an argument is not of this form; or when it is built, if no
            weight is chosen.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.ADMM(
        ...     keras.optimizers.SGD(0.5),
        ...     kx.optimizers.operators.L1Shrinkage(1.0),
        ...     rho=1.0,
        ... )
        >>> kernel = keras.Variable([[0.0, 0.0]], name="kernel")
        >>> for _ in range(200):  # of the loss norm(kernel - [[3.0, 0.5]])**2 / 2
        ...     gradient = kernel - keras.ops.array([[3.0, 0.5]])
        ...     optimizer.apply([gradient], [kernel])
        >>> with optimizer.evaluation_weights():
        ...     print(kernel.numpy().round(3))
        [[2. 0.]]

    References:
        - [Boyd et al., 2011](https://doi.org/10.1561/2200000016)
        - [Zhang et al., 2018](https://arxiv.org/abs/1804.03294)
    """

    changes_moves: ClassVar[bool] = False

    def __init__(  # noqa: PLR0913
        self,
        optimizer: Optimizer,
        operator: Operator,
        *,
        rho: float = 0.01,
        adapt_rho: bool = True,
        sync_period: int = 10,
        include: Pattern = KERNELS,
        exclude: Pattern = None,
        unit_axes: Mapping[str, Axes] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(optimizer, name=name)
        self.operator = operator
        self._applied = AppliedOperator(operator, include, exclude, unit_axes)
        self.rho = number(rho, "rho", above=0)
        self.adapt_rho = flag(adapt_rho, "adapt_rho")
        self.sync_period = integer(sync_period, "sync_period", low=1)

    @property
    def residuals(self) -> tuple[float, float]:
        """How far `w` and `z` were apart, and how far `z` moved, times `rho`.

        At the last meeting; where both are small, the training may end.
        """
        numbers = self._residuals.numpy() if self.built else (0.0, 0.0)
        return float(numbers[0]), float(numbers[1])

    def build_state(self, variables: Sequence[Variable]) -> None:
        self._state.owned += self._applied.build(variables)
        chosen = self._applied.weights
        self.add_slots(chosen, "z", copied=True)
        self.add_slots(chosen, "u")
        self._rho = self.add_number("rho", self.rho)
        self._residuals = self.add_number("residuals", shape=(2,))

    def update(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable], apply: Apply
    ) -> None:
        slots, rho = self._state.slots, tf.identity(_replica.native(self._rho))
        drawn = []
        for g, v in zip(gradients, variables, strict=True):
            if id(v) in slots["z"]:
                w, z, u = read([v, slots["z"][id(v)], slots["u"][id(v)]])
                # The gradient of rho / 2 * |w - z + u| ** 2, with `u` the scaled dual.
                g = tf.cast(g, w.dtype) + tf.cast(rho, w.dtype) * (w - z + u)
            drawn.append(g)
        apply(drawn)

    def after_update(self, strategy: Strategy, made: Tensor) -> None:
        due = tf.equal(self.counted() % self.sync_period, 0)
        tf.cond(
            tf.logical_and(due, made),
            lambda: _replica.each_replica(strategy, self._meet),
            lambda: None,
        )

    def _meet(self) -> None:
        chosen = self._applied.weights
        copies, sums = self.slots("z", chosen), self.slots("u", chosen)
        rho = tf.identity(_replica.native(self._rho))
        before, weights = read(copies), read(chosen)
        # The scaled form of section 3.1.1: `z` is what the operator makes of w + u, and
        # the new `u` is what is left over.
        wished = [w + u for w, u in zip(weights, read(sums), strict=True)]
        new = self._applied(wished, chosen, lambda v: 1.0 / rho)
        apart = _distance(weights, new)
        moved = rho * _distance(new, before)
        factor = self._factor(apart, moved)
        # They are in units of 1 / rho.
        remaining = [
            (x - z) / tf.cast(factor, x.dtype) for x, z in zip(wished, new, strict=True)
        ]
        self.write([*copies, *sums], [*new, *remaining], None)
        self.write(
            [self._rho, self._residuals], [rho * factor, tf.stack([apart, moved])], None
        )

    def _factor(self, apart: Tensor, moved: Tensor) -> Tensor:
        if not self.adapt_rho:
            return tf.ones(())
        lower = tf.where(moved > _TOO_UNEQUAL * apart, 1.0 / _RATE_FACTOR, 1.0)
        return tf.where(apart > _TOO_UNEQUAL * moved, _RATE_FACTOR, lower)

    def to_shown(self) -> None:
        chosen = self._applied.weights
        copies = self.slots("z", chosen)
        self.write([*chosen, *copies], [*read(copies), *read(chosen)], None)

    def to_trained(self) -> None:
        # Weights and copies change places, which undoes itself.
        self.to_shown()

    def restart(self) -> None:
        chosen = self._applied.weights
        values = read(chosen)
        zeros = [tf.zeros_like(x) for x in values]
        slots = [*self.slots("z", chosen), *self.slots("u", chosen)]
        self.write(slots, [*values, *zeros], None)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            **self._applied.get_config(keras.saving.serialize_keras_object),
            "rho": self.rho,
            "adapt_rho": self.adapt_rho,
            "sync_period": self.sync_period,
        }


def _distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    apart = [x - y for x, y in zip(a, b, strict=True)]
    return tf.sqrt(tf.reduce_sum(_replica.squared_norms(apart)))
