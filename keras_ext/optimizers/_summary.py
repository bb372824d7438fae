"""What an optimizer keeps, and what it does in which order."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_ext._core._checks import integer, require
from keras_ext._core._tables import html_table
from keras_ext._core._typing import Optimizer, Variable
from keras_ext._engine._gradient_pipeline import GradientPipeline
from keras_ext._engine._gradient_transform import GradientTransform
from keras_ext._engine._update_gate import UpdateGate
from keras_ext._engine._update_scale import UpdateScale
from keras_ext._engine._update_wrapper import UpdateWrapper
from keras_ext._keras._optimizer_family import build_optimizer
from keras_ext._keras._optimizer_slots import decays
from keras_ext._keras._whole_update import WholeUpdate


@dataclass(frozen=True)
class OptimizerSummary:
    """What an optimizer stores for each weight, and what it does in which order.

    It prints as a list and a table. `summary` makes it; you need not.

    Args:
        steps: What an update does, in the order in which it is done.
        slots: From the path of a weight to what is kept of it: names, and bytes.
        sizes: From the path of a weight to how many numbers it is.
        other_bytes: What is kept besides: counters, rates, numbers of the whole model.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> model.compile("adam")
        >>> kx.optimizers.summary(model).bytes_per_number
        8.0
    """

    steps: Sequence[str]
    slots: Mapping[str, Mapping[str, int]]
    sizes: Mapping[str, int]
    other_bytes: int

    def __post_init__(self) -> None:
        for name, kind in (("slots", Mapping), ("sizes", Mapping)):
            given = getattr(self, name)
            require(isinstance(given, kind), name, given, "a dictionary from paths")
        valid = isinstance(self.steps, list | tuple)
        valid = valid and all(isinstance(step, str) for step in self.steps)
        require(valid, "steps", self.steps, "a list of texts")
        integer(self.other_bytes, "other_bytes", low=0)

    @property
    def num_bytes(self) -> int:
        """What is kept in all."""
        return self.other_bytes + sum(map(_total, self.slots.values()))

    @property
    def bytes_per_number(self) -> float:
        """What is kept of the weights, for each of their numbers."""
        kept = sum(map(_total, self.slots.values()))
        return kept / max(1, sum(self.sizes.values()))

    def _steps(self) -> list[str]:
        return [f"{i}. {step}" for i, step in enumerate(self.steps, start=1)]

    def _table(self) -> list[list[str]]:
        table = [["weight", "numbers", "bytes", "kept of it"]]
        for path, kept in self.slots.items():
            size, names = f"{self.sizes[path]:,}", ", ".join(kept)
            table.append([path, size, f"{_total(kept):,}", names])
        return [*table, ["besides", "", f"{self.other_bytes:,}", ""]]

    def _last(self) -> str:
        return f"{self.bytes_per_number:.1f} bytes for each number of the weights"

    def __str__(self) -> str:
        table = self._table()
        widths = [max(len(row[i]) for row in table) for i in range(3)]
        lines = [
            "  ".join(
                [
                    row[0].ljust(widths[0]),
                    row[1].rjust(widths[1]),
                    row[2].rjust(widths[2]),
                    row[3],
                ]
            ).rstrip()
            for row in table
        ]
        return "\n".join(["An update", *self._steps(), "", *lines, self._last()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        steps = " ".join(["An update", *self._steps()])
        return html_table(self._table(), above=steps, below=self._last())


def summary(model: keras.Model) -> OptimizerSummary:
    """Reports what a model's optimizer stores, and what it does in which order.

    Args:
        model: A built and compiled model. Its optimizer is built for its weights, if
            that has not been done.

    Returns:
        An `OptimizerSummary`, which prints as text.

    Raises:
        ValueError: If it is no model, or not built, or has no optimizer.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> layers = [keras.Input((8,)), keras.layers.Dense(4, name="dense")]
        >>> model = keras.Sequential(layers, name="model")
        >>> optimizer = kx.optimizers.AdamMini(clipnorm=1.0, weight_decay=0.01)
        >>> model.compile(optimizer)
        >>> print(kx.optimizers.summary(model))
        An update
        1. sums gradients over the replicas
        2. clips the gradient of each weight to the norm 1.0
        3. takes the direction of AdamMini
        4. decays weights by 0.01, with the rate of AdamMini
        <BLANKLINE>
        weight              numbers  bytes  kept of it
        model/dense/kernel       32    144  momentum, velocity
        model/dense/bias          4     20  momentum, velocity
        besides                         12
        4.6 bytes for each number of the weights
    """
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    optimizer: Optimizer = getattr(model, "optimizer", None)
    ready = model.built and optimizer is not None
    require(ready, "model", model.name, "a model that is built and compiled")
    build_optimizer(model)
    slots, other = _slots(optimizer, model.trainable_variables)
    sizes: dict[str, int] = {}
    for v in model.trainable_variables:
        # Layers that are attributes of a model may have the same name.
        sizes[v.path] = sizes.get(v.path, 0) + math.prod(v.shape)
    return OptimizerSummary(list(_steps(optimizer, model)), slots, sizes, other)


def _total(kept: Mapping[str, int]) -> int:
    return sum(kept.values())


def _slots(
    optimizer: Optimizer, weights: Sequence[Variable]
) -> tuple[dict[str, dict[str, int]], int]:
    """What is kept of each weight, by the names that Keras gives; and the rest."""
    slots: dict[str, dict[str, int]] = {v.path: {} for v in weights}
    prefixes = {f"{v.path.replace('/', '_')}_": v.path for v in weights}
    other = 0
    for variable in {id(v): v for v in optimizer.variables}.values():
        size = math.prod(variable.shape) * variable.value.dtype.size
        fitting = [p for p in prefixes if variable.name.startswith(p)]
        if not fitting:
            other += size
            continue
        # The path of one weight may be the beginning of another one's.
        prefix = max(fitting, key=len)
        kept = slots[prefixes[prefix]]
        name = variable.name.removeprefix(prefix)
        kept[name] = kept.get(name, 0) + size
    return slots, other


def _steps(optimizer: Optimizer, model: keras.Model) -> Iterator[str]:
    """What an update does, from the outermost optimizer to the innermost and back."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        yield "divides gradients by the scale of the loss, and skips what overflows"
        yield from _steps(optimizer.inner_optimizer, model)
    elif isinstance(optimizer, GradientPipeline):
        yield from _steps_of_pipeline(optimizer, model)
    elif isinstance(optimizer, UpdateWrapper):
        steps = list(_steps(optimizer.optimizer, model))
        last = [step for step in steps if step.startswith("averages")]
        yield from (step for step in steps if step not in last)
        yield f"changes the update by {type(optimizer).__name__}"
        # Of the weights that come out: see `UpdateWrapper`.
        yield from last
    elif isinstance(optimizer, getattr(keras.optimizers, "MultiOptimizer", ())):
        several: Any = optimizer
        for each in several.optimizers:
            yield f"for the weights of {type(each).__name__}:"
            yield from _steps(each, model)
    else:
        yield from _steps_of_rule(optimizer, model)


def _steps_of_pipeline(optimizer: Optimizer, model: keras.Model) -> Iterator[str]:
    if optimizer.accumulates:
        yield f"accumulates micro-batches, now {int(optimizer.accumulation_steps)}"
    yield "sums gradients over the replicas"
    kinds = {
        UpdateGate: "leaves out updates by",
        GradientTransform: "changes gradients by",
    }
    after = [p for p in optimizer.transforms if not isinstance(p, tuple(kinds))]
    for kind, text in kinds.items():
        parts = [p for p in optimizer.transforms if isinstance(p, kind)]
        yield from (f"{text} {type(part).__name__}" for part in parts)
    inner = [s for s in _steps(optimizer.optimizer, model) if not s.startswith("sums")]
    yield from inner
    for part in sorted(after, key=lambda p: not isinstance(p, UpdateScale)):
        yield f"changes weights by {type(part).__name__}"


def _steps_of_rule(optimizer: Optimizer, model: keras.Model) -> Iterator[str]:
    name = type(optimizer).__name__
    is_whole = isinstance(optimizer, WholeUpdate)
    add_up = "sums gradients over the replicas"
    direction = f"takes the direction of {name}"
    if optimizer.gradient_accumulation_steps:
        yield f"accumulates {optimizer.gradient_accumulation_steps} micro-batches"
    clips, decay = list(_clips(optimizer)), list(_decays(optimizer, model))
    # Keras clips on each replica, and decays before the direction.
    if is_whole:
        yield from [add_up, *clips, direction, *decay]
    else:
        yield from [*clips, *decay, add_up, direction]
    if any(v.constraint is not None for v in model.trainable_variables):
        yield "applies the constraints of weights"
    if optimizer.use_ema:
        often = optimizer.ema_overwrite_frequency
        when = f"every {often} updates" if often else "when training ends"
        share = optimizer.ema_momentum
        yield f"averages weights, keeping {share}; the model gets them {when}"


def _clips(optimizer: Optimizer) -> Iterator[str]:
    if optimizer.clipnorm:
        yield f"clips the gradient of each weight to the norm {optimizer.clipnorm}"
    elif optimizer.global_clipnorm:
        yield f"clips all gradients together to the norm {optimizer.global_clipnorm}"
    elif optimizer.clipvalue:
        yield f"clips gradients to values within {optimizer.clipvalue}"


def _decays(optimizer: Optimizer, model: keras.Model) -> Iterator[str]:
    if not optimizer.weight_decay:
        return
    weights = model.trainable_variables
    excluded = sum(not decays(optimizer, v) for v in weights)
    but = f" but {excluded} of {len(weights)}" if excluded else ""
    name = type(optimizer).__name__
    yield f"decays weights{but} by {optimizer.weight_decay}, with the rate of {name}"
