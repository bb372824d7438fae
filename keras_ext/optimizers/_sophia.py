"""Momentum divided by a curvature, and clipped."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, Unpack

import keras
import tensorflow as tf
from keras import ops

from keras_ext._core._checks import choice, integer, number, require
from keras_ext._core._typing import Strategy, Tensor, Variable
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
    RuleOptimizer,
    Slot,
)
from keras_ext._keras import _replica
from keras_ext._keras._optimizer_slots import built_variables

# From weights to estimates of their curvature, of the whole batch.
Estimate: TypeAlias = Callable[[Sequence[Variable]], Sequence[Tensor | None]]
# Those of the paper for Sophia-H and Sophia-G.
_GAMMAS = {"hutchinson": 0.01, "gauss_newton_bartlett": 0.05}
_SEE = "told the curvature before it is applied"
_HINT = "Pass `callbacks=[keras_ext.training.Curvature()]` to `fit`."


@keras.saving.register_keras_serializable(package="keras_ext")
class Sophia(RuleOptimizer):
    """Momentum divided by the curvature of the loss, element by element, and clipped.

    Where the curvature is large, steps are as small as Newton's; where it is small,
    negative or unknown, a weight moves by the learning rate times the sign of its
    momentum. The curvature is estimated every `update_every` updates on the batch of
    the step, by one more pass that `keras_ext.training.Curvature` makes: pass it to
    `fit` in `callbacks`. It keeps as much memory as Adam.

    Tune the learning rate as you would that of `Lion`, some times smaller than that of
    Adam, and then `gamma` so that a tenth to a half of the elements are not clipped.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments; no element moves further in an update. Defaults to `0.0001`.
        estimator: `"hutchinson"`, of the loss itself, whatever it is, by a product of
            its second derivatives with random signs; or `"gauss_newton_bartlett"`, of
            classification and least squares, by the gradient for labels that the model
            itself has drawn: never negative, and without second derivatives.
            Defaults to `"hutchinson"`.
        beta_1: Number in [0, 1), how much of the average of gradients is kept in an
            update. Defaults to `0.965`.
        beta_2: Number in [0, 1), how much of the average of curvatures is kept in an
            estimate. Defaults to `0.99`.
        gamma: Number > 0, by which the curvature is multiplied. None means 0.01 for
            `"hutchinson"` and 0.05 for `"gauss_newton_bartlett"`.
        epsilon: Number > 0, the least that is divided by. Defaults to `1e-12`.
        update_every: Integer >= 1, the number of updates from one estimate to the next.
            Defaults to `10`.
        weight_decay: Number >= 0, the share of a weight that is taken off in an update,
            times the learning rate. None means none.
        **options: What every optimizer of Keras takes: `clipnorm`, `clipvalue`,
            `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps` and `name`.

    Raises:
        ValueError: If an argument is out of range, or, in the first update, if it
            has no curvature.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(kx.optimizers.Sophia(0.01), "mse")
        >>> x = np.random.default_rng(0).normal(size=(256, 2)) * [1, 100]
        >>> history = model.fit(
        ...     x, x @ [[1.0], [0.01]], batch_size=8, epochs=5,
        ...     callbacks=[kx.training.Curvature()], verbose=0,
        ... )
        >>> history.history["loss"][-1] < history.history["loss"][0] / 10
        True

    References:
        - [Liu et al., 2023](https://arxiv.org/abs/2305.14342)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1e-4,
        *,
        estimator: str = "hutchinson",
        beta_1: float = 0.965,
        beta_2: float = 0.99,
        gamma: float | None = None,
        epsilon: float = 1e-12,
        update_every: int = 10,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        self.estimator = choice(estimator, "estimator", tuple(_GAMMAS))
        self.beta_1 = number(beta_1, "beta_1", low=0, below=1)
        self.beta_2 = number(beta_2, "beta_2", low=0, below=1)
        self.gamma = number(gamma, "gamma", above=0, optional=True)
        self.epsilon = number(epsilon, "epsilon", above=0)
        self.update_every = integer(update_every, "update_every", low=1)
        self._was_told = False

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        return {"momentum": Slot(), "curvature": Slot()}

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._next_estimate = self.add_variable(
            (), dtype="int32", aggregation="only_first_replica", name="next_estimate"
        )

    def update_curvature(self, estimate: Estimate) -> None:
        """Takes in an estimate of the curvature, if one is due.

        `keras_ext.training.Curvature` calls this in `fit`. In a loop of your own, call
        it in the step, on every replica, before `apply`.

        Args:
            estimate: Function that takes a list of weights and returns, for each, an
                estimate of the second derivatives of the loss of the whole batch, the
                same on all replicas, or None where there is none. It is called within a
                conditional, and only if an estimate is due. What is not finite in
                it is left out.
        """
        require(self.built, "optimizer", self, "built before it is told a curvature")
        self._was_told = True
        _replica.merge(self._take_in, estimate)

    def _take_in(self, strategy: Strategy, estimate: Estimate) -> None:
        updates = tf.cast(tf.convert_to_tensor(self.iterations), "int32")

        def take() -> None:
            _replica.each_replica(strategy, self._average, estimate)
            self._next_estimate.assign(updates + self.update_every)

        # Once for all replicas: within one of them, a conditional may contain no
        # update.
        tf.cond(updates >= self._next_estimate.value, take, lambda: None)

    def _average(self, estimate: Estimate) -> None:
        variables = [v for v in built_variables(self) if self.slots_of(v)]
        slots, averages = [], []
        for variable, found in zip(variables, estimate(variables), strict=True):
            if found is not None:
                slot = self.slots_of(variable)["curvature"]
                old = tf.convert_to_tensor(_replica.native(slot))
                new = old + (tf.cast(found, old.dtype) - old) * (1 - self.beta_2)
                slots.append(slot)
                # One estimate that is not finite would stay in the average for ever.
                averages.append(tf.where(tf.math.is_finite(new), new, old))
        _replica.assign(slots, averages)

    def coefficients(self, now: Now) -> Now:
        require(self._was_told, "optimizer", self, _SEE, hint=_HINT)
        return now

    def change(self, part: Part, given: Now) -> Tensor:
        momentum = part.average("momentum", part.gradient, self.beta_1)
        gamma = _GAMMAS[self.estimator] if self.gamma is None else self.gamma
        # Where the curvature is negative or none, epsilon makes the clipped quotient
        # the sign of the momentum.
        curvature = ops.maximum(part.slots["curvature"] * gamma, self.epsilon)
        return ops.clip(momentum / curvature, -1.0, 1.0) * given.rate
