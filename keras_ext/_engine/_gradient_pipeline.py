"""The seam between gradients and an optimizer."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import keras
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import is_integer, require
from keras_ext._core._typing import Config, Optimizer, Strategy, Tensor, Variable
from keras_ext._engine._accumulation import Accumulation, NoAccumulation
from keras_ext._engine._after_update import AfterUpdate
from keras_ext._engine._forwarding_optimizer import (
    ForwardingOptimizer,
    checked_optimizer,
    is_overwritten,
)
from keras_ext._engine._gradient_signal import GradientSignal, Update
from keras_ext._engine._gradient_transform import Clipping, GradientTransform
from keras_ext._engine._loss_scaling import adapt_loss_scale, unscaled
from keras_ext._engine._pipeline_part import PipelinePart
from keras_ext._engine._rollback import taking_back
from keras_ext._engine._shown_weights import ShownWeights
from keras_ext._engine._update_gate import UpdateGate
from keras_ext._engine._update_scale import UpdateScale, remember_weights
from keras_ext._engine._update_wrapper import UpdateWrapper
from keras_ext._keras import _reduction, _replica
from keras_ext._keras._model_looks import surround_looks
from keras_ext._keras._optimizer_family import optimizer_family
from keras_ext._keras._optimizer_slots import strategy_of
from keras_ext._keras._replica import PerReplica
from keras_ext._keras._sparse_gradient import dense, is_sparse, summed
from keras_ext._live._hyper_variable import HyperVariable

Part = TypeVar("Part", bound=PipelinePart)


@dataclass(eq=False)
class _State:
    """What `build` makes. Keras does not look into it, so it tracks nothing twice."""

    nonfinite_steps: Variable
    # Those with NaN or infinity, and those that a gate did not admit.
    left_out: Variable
    accumulation: Accumulation | NoAccumulation
    owned: list[Variable]
    # The variables of the step that was traced last: those that gradients shape, and
    # those that gradients replace.
    shaped: Sequence[Variable] = ()
    direct: Sequence[Variable] = ()
    # What `flush` runs, traced when it is first needed.
    flush: Callable[[], None] | None = None


@keras.saving.register_keras_serializable(package="keras_ext")
class GradientPipeline(ForwardingOptimizer):
    """Shapes and measures gradients on their way to another optimizer.

    Each call of `apply` does, in this order: undo loss scaling; add the gradient to
    the accumulated ones (if accumulating); and once per update: sum over the replicas,
    check that the sum is finite and that every `UpdateGate` admits it, transform it
    (`GradientTransform`), measure it (`signals`), apply the wrapped optimizer with its
    own clipping, weight decay and averaging, scale what that did to a weight
    (`UpdateScale`), and change weights afterwards (`AfterUpdate`).

    Keras clips and accumulates on each replica before summing; the result then
    depends on the number of replicas. Here everything that compares or clips sees
    the gradient of the whole batch, so that the same data gives the same weights on
    any number of replicas, also for the `clipnorm` of the wrapped optimizer.

    From outside it behaves like the wrapped optimizer: `learning_rate`, `iterations`
    (which counts updates, not micro-batches), `scale_loss`, weight decay and
    exponential averages are the wrapped one's. An update whose gradient is not finite
    (or so large that its squared norm overflows) is skipped as a whole, and counted in
    `nonfinite_steps`; in `fit` and `train_on_batch`, its batches leave nothing behind
    in layers and metrics either.

    Sparse gradients, as from `Embedding`, stay sparse on their way to the optimizer,
    unless they are accumulated, scaled, or summed over replicas, or a transform or
    signal needs all rows. (Clipping by value, or by a norm other than `per="unit"`,
    does not.) `SGD` without momentum then updates only these rows.

    Accumulated micro-batches all count the same, however many samples they have, since
    an optimizer does not know their sizes: a last one of 3 samples counts as much as
    one of 32. `keras_ext.callbacks.DynamicBatchSize` weights them by their samples;
    here, use batches of one size (`drop_remainder=True` in a dataset).

    In an existing training loop, the callbacks of `keras_ext.callbacks` install a
    pipeline and remove it again.

    Args:
        optimizer: The optimizer to wrap, also a `LossScaleOptimizer`. It may not have
            `gradient_accumulation_steps` of its own.
        transforms: Parts of four kinds, each applied in the order of the list:
            `GradientTransform`s, `UpdateGate`s, `UpdateScale`s and `AfterUpdate`s.
            Defaults to `()`.
        accumulation_steps: How many micro-batches one update is the mean of. With an
            integer the number is fixed; with 1 nothing is accumulated and no memory
            is used for it. A `HyperVariable` of dtype `"int32"` may change while
            training, within its bounds. Defaults to `1`.
        signals: `GradientSignal`s to measure with. They are not saved.
            Defaults to `()`.
        unit_axes: What `keras_ext.optimizers.unit_axes(model)` returns, for transforms
            that work per output unit of a layer. Without it, kernels are taken to have
            their outputs in the last axis. None means without.
        name: Name of the optimizer. None means the name of the class.

    Raises:
        ValueError: If an argument is not of this form; or when it is built, if a part
            would move weights from where the wrapped optimizer puts them, as
            `Proximal` and `Lookahead` do: they have to be around the pipeline.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.Adam(1e-3),
        ...     transforms=[kx.gradients.AdaptiveClip()],
        ...     accumulation_steps=4,
        ...     unit_axes=kx.optimizers.unit_axes(model),
        ... )
        >>> model.compile(optimizer, "mse")
        >>> x, y = np.ones((80, 2)), np.ones((80, 1))
        >>> history = model.fit(x, y, batch_size=10, epochs=2, verbose=0)
        >>> int(optimizer.iterations)
        4
    """

    # What to do about an optimizer within that gives weights values of its own.
    only_moves_hint: ClassVar[str] = "Put it around the GradientPipeline."
    # Whether a model that is compiled with it takes batches back, see `Rollback`.
    undoes_batches: ClassVar[bool] = True

    def __init__(
        self,
        optimizer: Optimizer,
        transforms: Sequence[PipelinePart] = (),
        *,
        accumulation_steps: int | HyperVariable = 1,
        signals: Sequence[GradientSignal] = (),
        unit_axes: Mapping[str, Axes] | None = None,
        name: str | None = None,
    ) -> None:
        optimizer = checked_optimizer(optimizer)
        kinds = (GradientTransform, UpdateGate, UpdateScale, AfterUpdate)
        _require_all("transforms", transforms, kinds)
        _require_all("signals", signals, (GradientSignal,))
        require(
            unit_axes is None or isinstance(unit_axes, Mapping),
            "unit_axes",
            unit_axes,
            "a dictionary from weight paths to axes, or None",
            hint="keras_ext.optimizers.unit_axes(model) makes it.",
        )
        super().__init__(optimizer, name=name)
        self.transforms = list(transforms)
        self.accumulation_steps = _as_hyper_variable(accumulation_steps)
        self.signals = list(signals)
        self.unit_axes = dict(unit_axes or {})
        # Set while tracing: whether the training step uses this optimizer at all.
        self.was_applied = False
        surround_looks(taking_back)

    @property
    def own_variables(self) -> list[Variable]:
        return self._state.owned if self.built else []

    @property
    def nonfinite_steps(self) -> int:
        """The number of updates that were skipped because of NaN or infinity."""
        if not self.built:
            return 0
        return int(ops.convert_to_numpy(self._state.nonfinite_steps))

    # What a step may ask while it is traced, before and after it applies the optimizer.

    def num_left_out(self) -> Tensor:
        """How many updates were left out so far, for whatever reason."""
        # The number, not the variable, which goes on.
        return (
            tf.identity(self._state.left_out.value)
            if self.built
            else tf.zeros((), "int32")
        )

    def begins_update(self) -> Tensor:
        """Whether the present batch is the first of its update."""
        return self._state.accumulation.is_first() if self.built else tf.constant(True)

    @property
    def accumulates(self) -> bool:
        """Whether the number of accumulation steps is, or may become, more than 1."""
        return self.accumulation_steps.bounds != (1, 1)

    def _of_kind(self, kind: type[Part]) -> Iterator[Part]:
        return (part for part in self.transforms if isinstance(part, kind))

    # Building.

    @property
    def _num_replicas(self) -> int:
        """How many replicas have gradients that are still to be summed."""
        reduced = _reduction.receives_reduced_gradients(self)
        return 1 if reduced else _replica.num_replicas()

    @property
    def _local_signals(self) -> list[GradientSignal]:
        """Those that measure what an update is the mean of, if that can be several."""
        if not self.accumulates and self._num_replicas == 1:
            return []
        return [s for s in self.signals if s.local_shapes]

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        variables = list(variables)
        self._require_only_moves()
        averages = self.inner_optimizer.use_ema
        require(
            not (averages and any(self._of_kind(UpdateScale))),
            "optimizer.use_ema",
            averages,
            "False with an UpdateScale",
            hint="The average would be that of updates which are not scaled.",
        )
        super().build(variables)
        for part in (*self.transforms, *self.signals):
            part.build(variables, self.unit_axes)
        accumulation = self._new_accumulation(variables)
        nonfinite_steps, left_out = (
            _replica.counter(name) for name in ("nonfinite_steps", "left_out")
        )
        owned = [nonfinite_steps, left_out, self.accumulation_steps.build()]
        owned += [v for part in self.transforms for v in part.state]
        owned += accumulation.variables
        self._state = _State(nonfinite_steps, left_out, accumulation, owned)
        # Where `tf.train.Checkpoint` finds them.
        self._checkpointed = {str(i): v for i, v in enumerate(owned)}

    @property
    def scales_moves(self) -> bool:
        """Whether it scales moves that the wrapped optimizer has made."""
        return any(not part.is_whole for part in self._of_kind(UpdateScale))

    def _require_only_moves(self) -> None:
        """Raises if a part here would take weights from where they were put within."""
        parts = [*self._of_kind(UpdateScale), *self._of_kind(AfterUpdate)]
        # What rests does so at a place where an operator has put it; but others keep
        # copies of weights, which would go on alone.
        kinds = UpdateWrapper if self.scales_moves else ShownWeights
        setting = [
            type(m).__name__
            for m in optimizer_family(self.optimizer)
            if parts and isinstance(m, kinds) and m.sets_weights
        ]
        names = [type(part).__name__ for part in parts]
        require(
            not setting,
            "optimizer",
            setting,
            f"one that only moves weights, with {names}",
            hint=self.only_moves_hint,
        )

    def _new_accumulation(
        self, variables: Sequence[Variable]
    ) -> Accumulation | NoAccumulation:
        if not self.accumulates:
            return NoAccumulation(self._end_update)
        _require_no_overwritten(variables, self.accumulation_steps)
        shapes = [shape for s in self._local_signals for shape in s.local_shapes]
        weigh = self._micro_batch_weight
        steps = self.accumulation_steps
        return Accumulation(steps, variables, shapes, weigh, self._end_update)

    # By what the loss of the present micro-batch was multiplied, asked on a replica.
    _micro_batch_weight: Callable[[], tuple[Tensor, Tensor]] | None = None

    # A step begins on every replica, ends its update once for all of them, and makes it
    # on every replica again, with the reduced gradients: the names say which. Only in
    # cross-replica context may a conditional contain an update of weights.

    def apply(
        self,
        grads: Sequence[Tensor],
        trainable_variables: Sequence[Variable] | None = None,
    ) -> None:
        pairs = self.pairs(grads, trainable_variables)
        if pairs:
            self._begin_on_replica(pairs)

    def _begin_on_replica(self, pairs: Sequence[tuple[Tensor, Variable]]) -> None:
        self.was_applied = True
        # Gradients that are new values of their weight (float8 scales) are not
        # gradients to shape; they go past everything.
        direct = [(g, v) for g, v in pairs if is_overwritten(v)]
        shaped = [(g, v) for g, v in pairs if not is_overwritten(v)]
        self._state.shaped = [v for _, v in shaped]
        self._state.direct = [v for _, v in direct]
        gradients = [self._as_parts_take_it(g, v) for g, v in shaped]
        gradients = unscaled(self, gradients)
        local = [
            value
            for signal in self._local_signals
            for value in signal.measure_locally(gradients, self._state.shaped)
        ]
        replacing = [g for g, _ in direct]
        self._state.accumulation.add(self._state.shaped, gradients, local, replacing)

    def _as_parts_take_it(self, gradient: Tensor, variable: Variable) -> Tensor:
        """Keeps a sparse gradient sparse if nothing in its way needs all rows."""
        if not is_sparse(gradient):
            return gradient
        seers = [t for t in self._of_kind(GradientTransform) if t.chooses(variable)]
        stays = (
            not self.accumulates
            and _replica.num_replicas() == 1
            and self.optimizer.loss_scale_factor is None
            and self.scaler is None
            and all(part.takes_sparse for part in (*seers, *self.signals))
        )
        return summed(gradient) if stays else dense(gradient)

    def _end_update(
        self,
        strategy: Strategy,
        count: Tensor | float,
        gradients: Sequence[PerReplica],
        local: Sequence[PerReplica],
        direct: Sequence[PerReplica],
    ) -> None:
        """Makes an update of `count` micro-batches or not; cross-replica."""
        replicas = self._num_replicas
        if not _reduction.receives_reduced_gradients(self):
            reduced = _replica.reduce_sum(strategy, [*gradients, *local])
            gradients, local = reduced[: len(gradients)], reduced[len(gradients) :]
        squares = _replica.squared_norms(
            [_replica.first_replica(strategy, g) for g in gradients]
        )
        micro_batches = tf.cast(count, tf.float32) * replicas
        # One NaN or infinity anywhere makes the sum such a value.
        finite = tf.math.is_finite(tf.reduce_sum(squares))

        def make() -> None:
            values = (gradients, direct, squares, micro_batches, local, replicas)
            with _reduction.gradients_already_reduced(self.inner_optimizer):
                _replica.each_replica(strategy, self._update_on_replica, *values)
            adapt_loss_scale(self, finite=True)

        tf.cond(
            self._is_admitted(squares, finite),
            make,
            lambda: self._leave_out(squares, finite),
        )

    def _is_admitted(self, squared_norms: Tensor, finite: Tensor) -> Tensor:
        admitted = finite
        for gate in self._of_kind(UpdateGate):
            # Also after a refusal: gates count what they see.
            verdict = gate.admits(squared_norms, self._state.shaped, finite)
            admitted = tf.logical_and(admitted, verdict)
        return admitted

    def _leave_out(self, squared_norms: Tensor, finite: Tensor) -> None:
        """Counts an update that is not made; cross-replica."""
        self._state.left_out.assign_add(1)
        self._state.nonfinite_steps.assign_add(tf.where(finite, 0, 1))
        for signal in self.signals:
            signal.after_skip(squared_norms, self._state.shaped)
        lower = functools.partial(adapt_loss_scale, self, finite=False)
        tf.cond(finite, lambda: None, lower)

    def _update_on_replica(
        self,
        gradients: Sequence[Tensor],
        direct: Sequence[Tensor],
        squared_norms: Tensor,
        micro_batches: Tensor,
        local: Sequence[Tensor],
        replicas: int,
    ) -> None:
        variables = self._state.shaped
        transformed, clippings = self._transformed(gradients)
        update = Update(
            gradients,
            transformed,
            variables,
            squared_norms,
            # The number, not the variable, that is one more after the update.
            tf.identity(self.inner_optimizer.iterations.value),
            micro_batches,
            self._by_signal(local, replicas),
            clippings,
        )
        for signal in self.signals:
            signal.before_update(update)
        self._optimize(transformed, direct)
        for signal in self.signals:
            signal.after_update(update)

    def _transformed(
        self, gradients: Sequence[Tensor]
    ) -> tuple[Sequence[Tensor], dict[GradientTransform, Clipping]]:
        clippings = {}
        for transform in self._of_kind(GradientTransform):
            gradients, clipping = transform.transform_chosen(
                gradients, self._state.shaped
            )
            if clipping is not None:
                clippings[transform] = clipping
        return gradients, clippings

    def _optimize(self, gradients: Sequence[Tensor], direct: Sequence[Tensor]) -> None:
        """Moves the weights, on a replica."""
        inner, variables = self.inner_optimizer, self._state.shaped
        scales, changes = [*self._of_kind(UpdateScale)], [*self._of_kind(AfterUpdate)]
        # Only for those who need it: several optimizers have no one rate.
        rate = inner.learning_rate if scales or changes else None
        factor = inner.loss_scale_factor
        if factor is not None:  # which it is about to divide by
            gradients = [g * factor for g in gradients]
        scale = remember_weights(scales, variables, rate)
        inner.apply([*gradients, *direct], [*variables, *self._state.direct])
        scale()
        for part in changes:
            part.change(variables, rate)

    def _by_signal(
        self, local: Sequence[Tensor], replicas: int
    ) -> dict[GradientSignal, list[Tensor]]:
        # The loss of a replica was divided by their number; see tf.distribute.
        values = iter(local if replicas == 1 else [x * replicas**2 for x in local])
        return {s: [next(values) for _ in s.local_shapes] for s in self._local_signals}

    def flush(self) -> None:
        """Applies what has been accumulated so far, if anything.

        Call it on the host, between steps, when no more micro-batches will come; the
        update is the mean of those that there are.
        """
        if not (self.built and self._state.accumulation.num_waiting):
            return
        if self._state.flush is None:
            strategy, end = strategy_of(self), self._state.accumulation.end_early
            self._state.flush = tf.function(
                lambda: strategy.run(lambda: _replica.merge(end)), autograph=False
            )
        self._state.flush()

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        super().finalize_variable_values(var_list)
        self.check()

    def check(self) -> None:
        """Raises, on the host, if a part says that training should not go on."""
        for part in self.transforms:
            part.check()

    def get_config(self) -> Config:
        serialize = keras.saving.serialize_keras_object
        steps = self.accumulation_steps
        return {
            "optimizer": serialize(self.optimizer),
            "transforms": [serialize(t) for t in self.transforms],
            "accumulation_steps": {"value": int(steps), "bounds": list(steps.bounds)},
            "unit_axes": {path: list(axes) for path, axes in self.unit_axes.items()},
            "name": self.name,
        }

    @classmethod
    def from_config(
        cls, config: Config, custom_objects: Mapping[str, object] | None = None
    ) -> Self:
        def deserialize(part: Config) -> Any:
            return keras.saving.deserialize_keras_object(part, custom_objects)

        steps = config["accumulation_steps"]
        return cls(
            deserialize(config["optimizer"]),
            transforms=[deserialize(t) for t in config["transforms"]],
            accumulation_steps=_steps_variable(steps["value"], tuple(steps["bounds"])),
            unit_axes={p: tuple(axes) for p, axes in config["unit_axes"].items()},
            name=config["name"],
        )


def _require_all(name: str, parts: object, kinds: tuple[type, ...]) -> None:
    valid = isinstance(parts, list | tuple) and all(isinstance(p, kinds) for p in parts)
    require(valid, name, parts, f"a list of {', '.join(k.__name__ for k in kinds)}")


def _as_hyper_variable(steps: int | HyperVariable) -> HyperVariable:
    expected = "an integer >= 1, or a HyperVariable of dtype 'int32' with bounds >= 1"
    if isinstance(steps, HyperVariable):
        low = steps.bounds[0]
        valid = steps.dtype == "int32" and low is not None and low >= 1
        require(valid, "accumulation_steps", steps, expected)
        return steps
    require(is_integer(steps) and steps >= 1, "accumulation_steps", steps, expected)
    return _steps_variable(int(steps), (int(steps), int(steps)))


def _steps_variable(value: int, bounds: tuple[int | None, int | None]) -> HyperVariable:
    return HyperVariable(
        value, "accumulation_steps", bounds=bounds, scale="log", dtype="int32"
    )


def _require_no_overwritten(variables: Sequence[Variable], steps: object) -> None:
    paths = [v.path for v in variables if is_overwritten(v)]
    require(
        not paths,
        "accumulation_steps",
        steps,
        f"1 for weights that are overwritten by their gradient, as {paths} are",
    )
