"""Proximal steps after the updates of another optimizer."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import keras
import tensorflow as tf

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import choice, integer, require
from keras_ext._core._typing import (
    Config,
    Optimizer,
    Pattern,
    Strategy,
    Tensor,
    Variable,
)
from keras_ext._engine._gradient_pipeline import GradientPipeline
from keras_ext._engine._shown_weights import ShownWeights
from keras_ext._engine._update_wrapper import Apply, UpdateWrapper, read
from keras_ext._keras import _replica
from keras_ext._keras._optimizer_family import optimizer_family, sole_innermost
from keras_ext._keras._optimizer_slots import diagonal_steps
from keras_ext.optimizers.operators._operator import Operator
from keras_ext.optimizers.wrappers._applied_operator import KERNELS, AppliedOperator
from keras_ext.optimizers.wrappers._mechanic import Mechanic

METRICS = ("optimizer", "euclidean")


@keras.saving.register_keras_serializable(package="keras_ext")
class Proximal(UpdateWrapper):
    """Lets a proximal operator, or a projection, follow every update of an optimizer.

    With `operators.L1Shrinkage` weights become exactly zero, with
    `operators.GroupShrinkage` whole units do; as penalties in the loss, `keras`'s `L1`
    or `keras_ext.regularizers.GroupLasso` bring them near zero only. With a projection
    weights stay in a set.

    A step of the optimizer has a length, and the operator has to take one of the same
    length, or the weights do not end where loss and penalty together are smallest.
    With `metric="optimizer"` it does: for `SGD` it is the learning rate, divided by
    `1 - momentum`; for `Adam` and `AdamW` it is another one for each weight, the
    learning rate divided by the root of the second moment, and the operator uses the
    distance that belongs to it. Operators that cannot do that, other optimizers, and
    those whose moves are scaled afterwards, by `Mechanic` or a part of a
    `GradientPipeline`, need `metric="euclidean"`, where the step is the learning rate:
    then the penalty acts, but how strongly depends on the optimizer.
    `keras_ext.optimizers.ADMM` is right with any optimizer.

    Args:
        optimizer: The optimizer to wrap, its name or its config.
        operator: One of `keras_ext.optimizers.operators`.
        include: Which weights it is applied to: a regular expression that is searched
            in `variable.path`, a list of them, or a function from variable to bool.
            None means all. Defaults to `"kernel|embeddings"`.
        exclude: Which it is not applied to, in the same form. None means none.
        every: Integer >= 1; do it at this interval of updates, with a step as long as
            they are together. For operators that are expensive. Defaults to `1`.
        metric: How steps are measured, `"optimizer"` or `"euclidean"`.
            Defaults to `"optimizer"`.
        unit_axes: What `keras_ext.optimizers.unit_axes(model)` returns, for groups that
            are units of other layers than `Dense` and `Conv2D`. None means without.
        name: Name of the optimizer. None means the name of the class.

    Raises:
        ValueError: If an argument is not of this form, the step of the optimizer is not
            known, or it shows other weights than it trains, as `ScheduleFree` does; or
            when it is built, if no weight is chosen.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.Proximal(
        ...     keras.optimizers.SGD(0.5), kx.optimizers.operators.L1Shrinkage(1.0)
        ... )
        >>> kernel = keras.Variable([[2.0, 0.1]], name="kernel")
        >>> optimizer.apply([keras.ops.array([[1.0, -0.4]])], [kernel])
        >>> print(kernel.numpy())  # 1.5 and 0.3, each nearer to zero by 0.5
        [[1. 0.]]

    References:
        - [Parikh and Boyd, 2014](https://doi.org/10.1561/2400000003)
        - [Yun et al., 2020](https://arxiv.org/abs/2006.07484), for Adam
    """

    sets_weights: ClassVar[bool] = True

    def __init__(
        self,
        optimizer: Optimizer,
        operator: Operator,
        *,
        include: Pattern = KERNELS,
        exclude: Pattern = None,
        every: int = 1,
        metric: str = "optimizer",
        unit_axes: Mapping[str, Axes] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(optimizer, name=name)
        # Where `hyper_variables` finds what is live in it.
        self.operator = operator
        self._applied = AppliedOperator(operator, include, exclude, unit_axes)
        self.every = integer(every, "every", low=1)
        self.metric = choice(metric, "metric", METRICS)
        self._require_known_step()
        family = optimizer_family(self.inner_optimizer)
        showing = [type(m).__name__ for m in family if isinstance(m, ShownWeights)]
        require(
            not showing,
            "optimizer",
            showing,
            "one that shows the weights it trains, which the operator is applied to",
            hint="Put Proximal within, around the optimizer that steps.",
        )

    def _require_known_step(self) -> None:
        stepping = sole_innermost(self.inner_optimizer)
        per_weight = isinstance(stepping, keras.optimizers.Adam)
        known = isinstance(stepping, keras.optimizers.SGD)
        known |= per_weight and self.operator.takes_steps
        scaling = [
            m
            for m in optimizer_family(self.optimizer)
            if isinstance(m, Mechanic | GradientPipeline) and m.scales_moves
        ]
        known &= not scaling
        names = [type(x).__name__ for x in (*scaling, stepping, self.operator)]
        require(
            known or self.metric == "euclidean",
            "metric",
            self.metric,
            f'"euclidean" for {" and ".join(names)}',
            hint="Or use keras_ext.optimizers.ADMM, which is right with any optimizer.",
        )

    def build_state(self, variables: Sequence[Variable]) -> None:
        self._state.owned += self._applied.build(variables)

    def update(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable], apply: Apply
    ) -> None:
        self._state.rate = self.rate()
        super().update(gradients, variables, apply)

    def after_update(self, strategy: Strategy, made: Tensor) -> None:
        due = tf.logical_and(made, tf.equal(self.counted() % self.every, 0))
        rate = self._state.rate
        always = self.every == 1 and not self._may_skip

        def step() -> None:
            _replica.each_replica(strategy, self._shrink, rate)

        step() if always else tf.cond(due, step, lambda: None)

    def _shrink(self, rate: Tensor) -> None:
        chosen = self._applied.weights
        steps = self._steps(rate * self.every, chosen)
        values = self._applied(read(chosen), chosen, lambda v: steps[id(v)])
        self.write(chosen, values, None)

    def _steps(self, rate: Tensor, chosen: Sequence[Variable]) -> dict[int, Tensor]:
        """By weight, how long a step of the optimizer is."""
        stepping, factors = sole_innermost(self.inner_optimizer), None
        if self.metric == "optimizer":
            factors = diagonal_steps(stepping, chosen)
            # With momentum, a gradient moves a weight by this much in the end. As a
            # tensor, since it may be moved while training.
            momentum = getattr(stepping, "momentum", None)
            rate = rate / (1.0 - tf.cast(momentum or 0.0, rate.dtype))
        if factors is None:
            factors = [tf.ones((), rate.dtype)] * len(chosen)
        return {
            id(v): tf.cast(rate, x.dtype) * x
            for v, x in zip(chosen, factors, strict=True)
        }

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            **self._applied.get_config(keras.saving.serialize_keras_object),
            "every": self.every,
            "metric": self.metric,
        }
