"""An optimizer that changes what another one does in an update."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._dtypes import wide_dtype
from keras_ext._core._typing import Config, Optimizer, Strategy, Tensor, Variable
from keras_ext._engine._forwarding_optimizer import (
    ForwardingOptimizer,
    checked_optimizer,
    is_overwritten,
)
from keras_ext._engine._loss_scaling import adapt_loss_scale
from keras_ext._keras import _reduction, _replica, _weight_averages
from keras_ext._keras._optimizer_family import optimizer_family
from keras_ext._keras._replica import PerReplica
from keras_ext._keras._sparse_gradient import dense

Apply = Callable[[Sequence[Tensor]], None]


@dataclass(eq=False)
class _State:
    """What `build` makes. Keras does not look into it, so it tracks nothing twice."""

    owned: list[Variable] = field(default_factory=list)
    # By name, and then by the `id` of the weight.
    slots: dict[str, dict[int, Variable]] = field(default_factory=dict)
    # All weights but those that gradients replace.
    weights: list[Variable] = field(default_factory=list)
    # The variables of the step that was traced last: those that gradients move, and
    # those that gradients replace.
    moved: Sequence[Variable] = ()
    direct: Sequence[Variable] = ()
    # Its learning rate, where a subclass needs it.
    rate: Variable | None = None
    # The optimizers whose averages are to be made after it.
    averaging: Sequence[Optimizer] = ()
    # Whether the model has other weights than those that are trained, 0 or 1; and what
    # changes them, traced when it is first needed.
    shows: Any = None
    functions: dict[bool, Callable[[], None]] = field(default_factory=dict)


class UpdateWrapper(ForwardingOptimizer):
    """The base of optimizers that wrap another one and change its updates.

    A subclass overrides `update`, which is called on every replica with the gradient of
    the whole batch: unscaled, and summed over the replicas. So what it computes from
    all weights is the same on all replicas. `after_update` is called once for all of
    them; only there may a conditional write weights.

    It works around and inside of `GradientPipeline` and `LossScaleOptimizer`, and
    around other wrappers. The exponential averages of the wrapped optimizer are made of
    the weights that come out here, and constraints of weights hold for them.

    Args:
        optimizer: The optimizer to wrap.
        name: Name of the optimizer. None means the name of the class.

    Raises:
        ValueError: If `optimizer` is no optimizer, or one that does not fit.
    """

    # Whether `update` has to see the gradient that an update is made of. Then nothing
    # within may accumulate.
    needs_whole_gradient: ClassVar[bool] = False
    # Whether weights may have a constraint, which is applied last.
    allows_constraints: ClassVar[bool] = True
    # Whether it gives weights values of its own, after the update that it wraps; and
    # whether it scales moves, so that nothing within may do so.
    sets_weights: ClassVar[bool] = False
    scales_moves: ClassVar[bool] = False

    def __init__(self, optimizer: Optimizer, *, name: str | None = None) -> None:
        super().__init__(checked_optimizer(optimizer), name=name)
        family = optimizer_family(self.optimizer)
        accumulating = [m for m in family if getattr(m, "accumulates", False)]
        require(
            not (accumulating and self.needs_whole_gradient),
            "optimizer",
            type(self.optimizer).__name__,
            "one that does not accumulate",
            hint="Put the GradientPipeline that accumulates around this one.",
        )
        setting = [
            type(m).__name__
            for m in family
            if isinstance(m, UpdateWrapper) and m.sets_weights
        ]
        require(
            not (setting and self.scales_moves),
            "optimizer",
            setting,
            f"one that only moves weights, for {type(self).__name__}",
            hint=f"Put {' and '.join(setting)} around this one.",
        )
        # What decides by itself whether there is an update.
        inner = optimizer_family(self.inner_optimizer)
        self._may_skip = any(
            hasattr(m, "nonfinite_steps")
            or isinstance(m, keras.optimizers.LossScaleOptimizer)
            for m in inner
        )
        self._made_state: _State | None = None

    # What subclasses override.

    def build_state(self, variables: Sequence[Variable]) -> None:
        """Makes slots and numbers, with `add_slots` and `add_number`."""

    def update(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable], apply: Apply
    ) -> None:
        """Makes an update, on a replica: calls `apply`, and changes what comes of it.

        Args:
            gradients: The gradients of the loss, of the whole batch.
            variables: The weights that have one.
            apply: Applies the wrapped optimizer to the gradients that it is given.
        """
        del variables
        apply(gradients)

    def after_update(self, strategy: Strategy, made: Tensor) -> None:
        """Goes on after an update of all replicas, in cross-replica context.

        Args:
            strategy: The strategy.
            made: Whether there was an update at all.
        """

    # What they use.

    def add_slots(
        self, variables: Sequence[Variable], name: str, *, copied: bool = False
    ) -> None:
        """Creates one variable for each of some others, of zeros or of their values."""
        slots = self._state.slots.setdefault(name, {})
        for v in variables:
            initial = _present_value(v) if copied else 0.0
            dtype = wide_dtype(v.dtype)
            slots[id(v)] = self._owned(
                v.shape, dtype, f"{v.path.replace('/', '_')}_{name}", initial
            )

    def add_number(
        self,
        name: str,
        initial: np.ndarray | Sequence[float] | float = 0,
        shape: Sequence[int] = (),
        dtype: str = "float32",
    ) -> Variable:
        """Creates a variable for what is no slot of a weight."""
        return self._owned(shape, dtype, name, initial)

    def _owned(
        self,
        shape: Sequence[int],
        dtype: str,
        name: str,
        initial: np.ndarray | Sequence[float] | float,
    ) -> Variable:
        variable = _replica.local_variable(
            shape, dtype, name, "only_first_replica", initial
        )
        self._state.owned.append(variable)
        return variable

    def slots(self, name: str, variables: Sequence[Variable]) -> list[Variable]:
        """The slots of some weights."""
        return [self._state.slots[name][id(v)] for v in variables]

    @property
    def weights(self) -> list[Variable]:
        """All weights, but those that are overwritten by their gradient."""
        return self._state.weights

    def write(
        self,
        variables: Sequence[Variable],
        values: Sequence[Tensor],
        made: Tensor | None,
    ) -> None:
        """Gives variables new values on a replica, unless no update was made."""
        pairs = zip(variables, values, strict=True)
        cast = [(v, tf.cast(x, v.dtype)) for v, x in pairs]
        if made is not None:
            cast = [(v, tf.where(made, x, _replica.native(v))) for v, x in cast]
        own = {id(v) for v in self._state.owned}
        for variable, value in cast:
            if id(variable) in own:
                variable.assign(value)
        shared = [(v, x) for v, x in cast if id(v) not in own]
        if shared:
            _replica.assign([v for v, _ in shared], [x for _, x in shared])

    def rate(self) -> Tensor:
        """The learning rate of the present update; read it before `apply`."""
        rate = self.inner_optimizer.learning_rate
        return tf.cast(tf.identity(_replica.native(rate)), tf.float32)

    def counted(self) -> Tensor:
        """How many updates there were."""
        return tf.identity(_replica.native(self.inner_optimizer.iterations))

    def made_since(self, count: Tensor) -> Tensor | None:
        """Whether an update was made since `counted`; None if there always is one."""
        return self.counted() > count if self._may_skip else None

    # Building.

    @property
    def _state(self) -> _State:
        if self._made_state is None:
            self._made_state = _State()
        return self._made_state

    @property
    def own_variables(self) -> list[Variable]:
        return self._state.owned if self.built else []

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        variables = list(variables)
        weights = [v for v in variables if not is_overwritten(v)]
        bound = [v.path for v in weights if v.constraint is not None]
        rule = f"none with {type(self).__name__}"
        hint = "Leave out those of layers, and callbacks that add some, such as Prune."
        # Before anything is built: what is built in part is taken for built.
        allowed = self.allows_constraints or not bound
        require(allowed, "weights with a constraint", bound, rule, hint)
        super().build(variables)
        state = self._state
        state.weights = weights
        self.build_state(state.weights)
        # Where `tf.train.Checkpoint` finds them.
        self._checkpointed = {str(i): v for i, v in enumerate(state.owned)}

    # Applying: on every replica, then once for all, then on every replica again. As in
    # `fit`, nothing of it is for AutoGraph, which a step of somebody's own may use.

    @tf.autograph.experimental.do_not_convert
    def apply(
        self,
        grads: Sequence[Tensor],
        trainable_variables: Sequence[Variable] | None = None,
    ) -> None:
        pairs = self.pairs(grads, trainable_variables)
        if not pairs:
            return
        state = self._state
        moved = [(dense(g), v) for g, v in pairs if not is_overwritten(v)]
        direct = [(g, v) for g, v in pairs if is_overwritten(v)]
        state.moved = [v for _, v in moved]
        state.direct = [v for _, v in direct]
        _replica.merge(self._update_all, [g for g, _ in moved], [g for g, _ in direct])

    def _update_all(
        self,
        strategy: Strategy,
        gradients: Sequence[PerReplica],
        direct: Sequence[PerReplica],
    ) -> None:
        if not _reduction.receives_reduced_gradients(self):
            gradients = _replica.reduce_sum(strategy, gradients)
        if self.scaler is None or not self.loss_is_scaled:
            self._make(strategy, gradients, direct)
            return
        # As the LossScaleOptimizer does, which is passed by.
        squares = _replica.squared_norms(
            [_replica.first_replica(strategy, g) for g in gradients]
        )

        def make() -> None:
            self._make(strategy, gradients, direct)
            adapt_loss_scale(self, finite=True)

        finite = tf.math.is_finite(tf.reduce_sum(squares))
        tf.cond(finite, make, lambda: adapt_loss_scale(self, finite=False))

    def _make(
        self,
        strategy: Strategy,
        gradients: Sequence[PerReplica],
        direct: Sequence[PerReplica],
    ) -> None:
        count, inner = self.counted(), self.inner_optimizer
        with (
            _reduction.gradients_already_reduced(inner),
            _weight_averages.averages_held_back(inner) as averaging,
        ):
            _replica.each_replica(strategy, self._on_replica, gradients, direct)
        self._state.averaging = averaging
        self.after_update(strategy, self.counted() > count)
        _replica.each_replica(strategy, self._end_on_replica, count)

    def _on_replica(
        self, gradients: Sequence[Tensor], direct: Sequence[Tensor]
    ) -> None:
        state, inner = self._state, self.inner_optimizer
        scale = loss_scale(self.optimizer, self)
        if scale is not None:
            gradients = [g / tf.cast(scale, g.dtype) for g in gradients]
        again = loss_scale(inner, self)

        def apply(values: Sequence[Tensor]) -> None:
            if again is not None:  # which it is about to divide by
                values = [x * tf.cast(again, x.dtype) for x in values]
            inner.apply([*values, *direct], [*state.moved, *state.direct])

        self.update(gradients, state.moved, apply)

    def _end_on_replica(self, count: Tensor) -> None:
        made = self.made_since(count)
        bound = [v for v in self._state.moved if v.constraint is not None]
        if bound:
            self.write(bound, [v.constraint(v) for v in bound], made)
        _weight_averages.average_weights(self._state.averaging, made)

    def get_config(self) -> Config:
        return {
            "optimizer": keras.saving.serialize_keras_object(self.optimizer),
            "name": self.name,
        }

    @classmethod
    def from_config(
        cls, config: Config, custom_objects: Mapping[str, object] | None = None
    ) -> Self:
        made = {
            name: keras.saving.deserialize_keras_object(value, custom_objects)
            if isinstance(value, dict) and "class_name" in value
            else value
            for name, value in config.items()
        }
        return cls(made.pop("optimizer"), **made)


def loss_scale(optimizer: Optimizer, outer: ForwardingOptimizer) -> Tensor | None:
    """By what the loss was multiplied by an optimizer that `outer` wraps, or None."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer.dynamic_scale.value if outer.loss_is_scaled else None
    if isinstance(optimizer, ForwardingOptimizer):
        return loss_scale(optimizer.optimizer, optimizer)
    return optimizer.loss_scale_factor


def read(variables: Sequence[Variable]) -> list[Tensor]:
    """The values, at least in float32, which stay when the variables change."""
    return [
        tf.cast(tf.identity(_replica.native(v)), wide_dtype(v.dtype)) for v in variables
    ]


def _present_value(variable: Variable) -> np.ndarray:
    """The value of a weight on the host, also while a step is traced."""
    with tf.init_scope():
        return np.array(_replica.parts(variable)[0])
