"""The seam between gradients and an optimizer."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import keras
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import is_integer, require
from keras_ext._core._pattern import is_selected
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._forwarding_optimizer import ForwardingOptimizer
from keras_ext._engine._gradient_signal import GradientSignal, Update
from keras_ext._engine._gradient_transform import GradientTransform
from keras_ext._keras import _reduction, _replica
from keras_ext._keras._optimizer_slots import built_variables, strategy_of
from keras_ext._live._hyper_variable import HyperVariable


@dataclass(eq=False)
class _State:
    """What `build` makes. Keras does not look into it, so it tracks nothing twice."""

    nonfinite_steps: Variable
    micro_steps: Variable
    accumulators: dict[int, Variable]
    local_sums: list[Variable]
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
    check that the sum is finite, transform (`transforms`), measure (`signals`), and
    apply the wrapped optimizer with its own clipping, weight decay and averaging. A
    transform may also reject the update, or scale what the optimizer did to a weight.

    Keras clips and accumulates on each replica before summing; the result then
    depends on the number of replicas. Here everything that compares or clips sees
    the gradient of the whole batch, so that the same data gives the same weights on
    any number of replicas, also for the `clipnorm` of the wrapped optimizer.

    To everyone outside it behaves as the wrapped optimizer: `learning_rate`,
    `iterations` (which counts updates, not micro-batches), `scale_loss`, weight decay
    and exponential averages are the wrapped one's. An update whose gradient is not
    finite (or so large that its squared norm overflows) is skipped as a whole, and
    counted in `nonfinite_steps`.

    Sparse gradients, those of `Embedding`, are made dense.

    Accumulated micro-batches all count the same, however many samples they have: an
    optimizer is not told. A last one of 3 samples, after three of 32, counts as much as
    they do. `keras_ext.callbacks.DynamicBatchSize` weighs them by their samples; here,
    take batches of one size (`drop_remainder=True` in a dataset).

    In an existing training loop the callbacks of `keras_ext.callbacks` put a pipeline
    in place and take it off again.

    Args:
        optimizer: The optimizer to wrap, also a `LossScaleOptimizer`. It may not have
            `gradient_accumulation_steps` of its own.
        transforms: `GradientTransform`s, applied in this order. Defaults to `()`.
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
        ValueError: If an argument is not of this form.

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

    def __init__(
        self,
        optimizer: Any,
        transforms: Sequence[GradientTransform] = (),
        *,
        accumulation_steps: int | HyperVariable = 1,
        signals: Sequence[GradientSignal] = (),
        unit_axes: Mapping[str, Axes] | None = None,
        name: str | None = None,
    ) -> None:
        optimizer = keras.optimizers.get(optimizer)
        require(
            getattr(optimizer, "gradient_accumulation_steps", None) is None,
            "optimizer",
            optimizer,
            "without gradient_accumulation_steps",
            hint="Pass accumulation_steps to GradientPipeline instead.",
        )
        _require_all("transforms", transforms, GradientTransform)
        _require_all("signals", signals, GradientSignal)
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

    @property
    def own_variables(self) -> list[Variable]:
        return self._state.owned if self.built else []

    @property
    def nonfinite_steps(self) -> int:
        """The number of updates that were skipped because of NaN or infinity."""
        if not self.built:
            return 0
        return int(ops.convert_to_numpy(self._state.nonfinite_steps))

    # Building.

    @property
    def accumulates(self) -> bool:
        """Whether the number of accumulation steps is, or may become, more than 1."""
        return self.accumulation_steps.bounds != (1, 1)

    # Whether micro-batches count by `_weight` instead of all the same.
    weighs = False

    def _weight(self) -> Tensor:
        """By what the loss of the present micro-batch was multiplied."""
        raise NotImplementedError

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
        averages = self.inner_optimizer.use_ema
        require(
            not (averages and any(t.scales_updates for t in self.transforms)),
            "optimizer.use_ema",
            averages,
            "False with a transform that scales updates",
            hint="The average would be that of updates which are not scaled.",
        )
        super().build(variables)
        for transform in self.transforms:
            transform.build(variables, self.unit_axes)
        for signal in self.signals:
            signal.build(variables, self.unit_axes)
        self._state = self._new_state(variables)

    def _new_state(self, variables: Sequence[Variable]) -> _State:
        nonfinite_steps = _counter("nonfinite_steps")
        owned = [nonfinite_steps, self.accumulation_steps.build()]
        owned += [v for transform in self.transforms for v in transform.state]
        micro_steps, accumulators, local_sums = None, {}, []
        if self.accumulates:
            _require_no_overwritten(variables, self.accumulation_steps)
            micro_steps = _counter("micro_steps")
            accumulators = {id(v): _accumulator(v.shape, v.name) for v in variables}
            shapes = [shape for s in self._local_signals for shape in s.local_shapes]
            shapes += [()] if self.weighs else []
            local_sums = [_accumulator(shape, "local") for shape in shapes]
            owned += [micro_steps, *accumulators.values(), *local_sums]
        return _State(nonfinite_steps, micro_steps, accumulators, local_sums, owned)

    # Applying. `apply` runs on every replica, `_finish` once for all of them, and
    # `_update` again on every replica, with the reduced gradients.

    def apply(
        self,
        grads: Sequence[Tensor],
        trainable_variables: Sequence[Variable] | None = None,
    ) -> None:
        if trainable_variables is None:
            trainable_variables = built_variables(self)
        if not self.built:
            self.build(trainable_variables)
        pairs = [
            (g, v)
            for g, v in zip(grads, trainable_variables, strict=True)
            if g is not None
        ]
        require(
            bool(pairs) or not len(grads),
            "grads",
            grads,
            "gradients, at least one of them not None",
            hint="Does the loss depend on the trainable weights?",
        )
        if pairs:
            self._apply(pairs)

    def _apply(self, pairs: Sequence[tuple[Tensor, Variable]]) -> None:
        # Gradients that are new values of their weight (float8 scales) are not
        # gradients to shape; they go past everything.
        self.was_applied = True
        direct = [(g, v) for g, v in pairs if _is_overwritten(v)]
        shaped = [(g, v) for g, v in pairs if not _is_overwritten(v)]
        self._state.shaped = [v for _, v in shaped]
        self._state.direct = [v for _, v in direct]
        gradients = self._unscaled([_replica.dense(g) for g, _ in shaped])
        local = [
            value
            for signal in self._local_signals
            for value in signal.measure_locally(gradients, self._state.shaped)
        ]
        if self.accumulates and self.weighs:
            # What signals measure is quadratic in the gradient, and of no weight.
            weight = self._weight()
            local = [x / tf.square(tf.cast(weight, x.dtype)) for x in local]
            _replica.merge(self._micro_step, [*gradients, *local, weight])
        elif self.accumulates:
            _replica.merge(self._micro_step, [*gradients, *local])
        else:
            _replica.merge(
                lambda strategy, *values: self._finish(strategy, 1.0, *values),
                gradients,
                local,
                [g for g, _ in direct],
            )

    def _unscaled(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        scale = self._loss_scale()
        if scale is None:
            return list(gradients)
        return [g / ops.cast(scale, g.dtype) for g in gradients]

    def _loss_scale(self) -> Tensor | None:
        if self.scaler is not None:
            return self.scaler.dynamic_scale.value if self.loss_is_scaled else None
        return self.optimizer.loss_scale_factor

    def _micro_step(self, strategy: Any, values: Sequence[Any]) -> None:
        """Keeps the values of a micro-batch, or ends the update with its last one."""
        local = _replica.first_replica(strategy, values[0])
        # A step that meets the end of the data fails in the middle, and what does not
        # depend on the data still runs: it would count a step that never was.
        with tf.control_dependencies([local]):
            done = self._state.micro_steps.value + 1
        is_last = done >= self.accumulation_steps.value
        self._state.micro_steps.assign(tf.where(is_last, 0, done))
        tf.cond(
            is_last,
            lambda: self._finish_sums(strategy, done, values),
            lambda: _replica.each_replica(strategy, self._keep, done, *values),
        )

    # The first value replaces what is there, and the last one is never stored: so one
    # micro-batch per update costs no pass over the accumulators.
    def _keep(self, count: Tensor, *values: Tensor) -> None:
        kept = tf.where(tf.equal(count, 1), 0.0, 1.0)
        for sum_, value in zip(self._sums(), values, strict=True):
            old = tf.math.multiply_no_nan(_replica.native(sum_), kept)
            sum_.assign(old + tf.cast(value, sum_.dtype))

    def _sums(self) -> list[Variable]:
        state = self._state
        return [*(state.accumulators[id(v)] for v in state.shaped), *state.local_sums]

    def _finish_sums(
        self, strategy: Any, count: Tensor, values: Sequence[Any] | None = None
    ) -> None:
        """Ends an update with what was kept, and the values of a last micro-batch."""
        num_weights = len(self._state.shaped)
        num_local = len(self._state.local_sums) - self.weighs

        def means(*values: Tensor) -> list[Tensor]:
            sums = [_replica.native(s) for s in self._sums()]
            if values:
                pairs = zip(sums, values, strict=True)
                sums = [tf.cast(s, v.dtype) + v for s, v in pairs]
            *local, total = [*sums[num_weights:], *([] if self.weighs else [count])]
            means = [s / tf.cast(total, s.dtype) for s in sums[:num_weights]]
            return [*means, *(tf.identity(s) for s in local)]

        def complete(*values: Tensor) -> list[Tensor]:
            if not values:
                return means()
            return tf.cond(
                tf.equal(count, 1),
                # One alone has no weight.
                lambda: [tf.identity(v) for v in values[: num_weights + num_local]],
                lambda: means(*values),
            )

        completed = _replica.each_replica(strategy, complete, *(values or ()))
        self._finish(
            strategy, count, completed[:num_weights], completed[num_weights:], []
        )

    def _finish(
        self,
        strategy: Any,
        count: Any,
        gradients: Sequence[Any],
        local: Sequence[Any],
        direct: Sequence[Any],
    ) -> None:
        """Ends an update, in cross-replica context."""
        replicas = self._num_replicas
        if not _reduction.receives_reduced_gradients(self):
            reduced = _replica.reduce_sum(strategy, [*gradients, *local])
            gradients, local = reduced[: len(gradients)], reduced[len(gradients) :]
        squares = _replica.squared_norms(
            [_replica.first_replica(strategy, g) for g in gradients]
        )
        micro_batches = tf.cast(count, tf.float32) * replicas

        def apply() -> None:
            with _reduction.gradients_already_reduced(self.inner_optimizer):
                _replica.each_replica(
                    strategy,
                    self._update,
                    gradients,
                    direct,
                    squares,
                    micro_batches,
                    local,
                    replicas,
                )
            self._adapt_loss_scale(finite=True)

        finite = tf.math.is_finite(tf.reduce_sum(squares))

        def skip() -> None:
            self._state.nonfinite_steps.assign_add(tf.where(finite, 0, 1))
            for signal in self.signals:
                signal.after_skip(squares, self._state.shaped)
            lower = functools.partial(self._adapt_loss_scale, finite=False)
            tf.cond(finite, lambda: None, lower)

        tf.cond(self._admitted(squares, finite), apply, skip)

    def _admitted(self, squared_norms: Tensor, finite: Tensor) -> Tensor:
        """Whether the update is to be made."""
        admitted = finite
        for transform in self.transforms:
            if transform.rejects_updates:
                verdict = transform.admits(squared_norms, self._state.shaped, finite)
                admitted = tf.logical_and(admitted, verdict)
        return admitted

    def _update(
        self,
        gradients: Sequence[Tensor],
        direct: Sequence[Tensor],
        squared_norms: Tensor,
        micro_batches: Tensor,
        local: Sequence[Tensor],
        replicas: int,
    ) -> None:
        """Ends an update on one replica."""
        transformed = gradients
        for transform in self.transforms:
            transformed = transform(transformed, self._state.shaped)
        update = Update(
            gradients,
            transformed,
            self._state.shaped,
            squared_norms,
            # The number, not the variable, that is one more after the update.
            tf.identity(self.inner_optimizer.iterations.value),
            micro_batches,
            self._by_signal(local, replicas),
        )
        for signal in self.signals:
            signal.before_update(update)
        factor = self.inner_optimizer.loss_scale_factor
        if factor is not None:  # which it is about to divide by
            transformed = [g * factor for g in transformed]
        scaled = self._scaled_updates()
        self.inner_optimizer.apply(
            [*transformed, *direct], [*self._state.shaped, *self._state.direct]
        )
        scaled()
        for signal in self.signals:
            signal.after_update(update)

    def _by_signal(
        self, local: Sequence[Tensor], replicas: int
    ) -> dict[GradientSignal, list[Tensor]]:
        # The loss of a replica was divided by their number; see tf.distribute.
        values = iter(local if replicas == 1 else [x * replicas**2 for x in local])
        return {s: [next(values) for _ in s.local_shapes] for s in self._local_signals}

    def _scaled_updates(self) -> Callable[[], None]:
        """Remembers the weights; what it returns scales how they have moved since."""
        rules = [t for t in self.transforms if t.scales_updates]
        rules_of = [
            (v, [t for t in rules if is_selected(v, t.include, t.exclude)])
            for v in self._state.shaped
        ]
        chosen = [(v, some) for v, some in rules_of if some]
        before = [tf.identity(_replica.native(v)) for v, _ in chosen]
        rate = self.inner_optimizer.learning_rate if chosen else None

        def scale() -> None:
            new = []
            for (variable, some), start in zip(chosen, before, strict=True):
                end = tf.identity(_replica.native(variable))
                for rule in some:
                    factor = rule.update_factor(variable, end - start, rate)
                    factor = tf.cast(factor, end.dtype)
                    scaled = start + factor * (end - start)
                    # Where nothing, or everything, is to stay, every bit does.
                    scaled = tf.where(tf.equal(factor, 1), end, scaled)
                    end = tf.where(tf.equal(factor, 0), start, scaled)
                new.append(end)
            if chosen:
                _replica.assign([v for v, _ in chosen], new)

        return scale

    def _adapt_loss_scale(self, finite: bool) -> None:
        """Does what `LossScaleOptimizer` does after an update."""
        scaler = self.scaler
        if scaler is None or not self.loss_is_scaled:
            return
        scale, steps = scaler.dynamic_scale, scaler.step_counter
        if finite:
            grows = ops.equal(steps, scaler.dynamic_growth_steps - 1)
            scale.assign(scale.value * ops.where(grows, 2.0, 1.0))
            steps.assign(ops.where(grows, 0, steps.value + 1))
        else:
            scale.assign(scale.value * 0.5)
            steps.assign(0)

    def flush(self) -> None:
        """Applies what has been accumulated so far, if anything.

        Call it on the host, between steps, when no more micro-batches will come; the
        update is the mean of those that there are.
        """
        if not (
            self.built
            and self.accumulates
            and int(ops.convert_to_numpy(self._state.micro_steps))
        ):
            return

        def finish(strategy: Any) -> None:
            done = self._state.micro_steps
            self._finish_sums(strategy, done.value)
            done.assign(0)

        if self._state.flush is None:
            strategy = strategy_of(self)
            self._state.flush = tf.function(
                lambda: strategy.run(lambda: _replica.merge(finish)), autograph=False
            )
        self._state.flush()

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        super().finalize_variable_values(var_list)
        self.check()

    def check(self) -> None:
        """Raises, on the host, if a transform says that training should not go on."""
        for transform in self.transforms:
            transform.check()

    def get_config(self) -> dict[str, Any]:
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
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Self:
        def deserialize(part: Any) -> Any:
            return keras.saving.deserialize_keras_object(part, custom_objects)

        steps = config["accumulation_steps"]
        return cls(
            deserialize(config["optimizer"]),
            transforms=[deserialize(t) for t in config["transforms"]],
            accumulation_steps=_steps_variable(steps["value"], tuple(steps["bounds"])),
            unit_axes={p: tuple(axes) for p, axes in config["unit_axes"].items()},
            name=config["name"],
        )


def _require_all(name: str, parts: Any, kind: type) -> None:
    valid = isinstance(parts, list | tuple) and all(isinstance(p, kind) for p in parts)
    require(valid, name, parts, f"a list of {kind.__name__}s")


def _as_hyper_variable(steps: Any) -> HyperVariable:
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


def _counter(name: str) -> Variable:
    return keras.Variable(
        0,
        dtype="int32",
        trainable=False,
        aggregation="only_first_replica",
        name=name,
    )


def _accumulator(shape: Sequence[int], name: str) -> Variable:
    return _replica.local_variable(shape, "float32", f"{name}_sum", total="sum")


def _require_no_overwritten(variables: Sequence[Variable], steps: Any) -> None:
    paths = [v.path for v in variables if _is_overwritten(v)]
    require(
        not paths,
        "accumulation_steps",
        steps,
        f"1 for weights that are overwritten by their gradient, as {paths} are",
    )


def _is_overwritten(variable: Variable) -> bool:
    return bool(getattr(variable, "overwrite_with_gradient", False))
