"""The optimizers that an optimizer is made of."""

import math

import keras
from keras import ops

from keras_ext._core._checks import require
from keras_ext._core._typing import Optimizer


def optimizer_family(optimizer: Optimizer) -> list[Optimizer]:
    """The optimizer and the ones that it delegates to, each once."""
    found: dict[int, Optimizer] = {}
    waiting = [optimizer]
    while waiting:
        member = waiting.pop()
        if id(member) not in found:
            found[id(member)] = member
            for name in ("optimizer", "inner_optimizer", "optimizers"):
                held = getattr(member, name, None)
                held = held if isinstance(held, list | tuple) else [held]
                waiting += [x for x in held if isinstance(x, keras.Optimizer)]
    return list(found.values())


def innermost_optimizers(optimizer: Optimizer) -> list[Optimizer]:
    """Those of a family that delegate to no other, and so move the weights."""
    family = optimizer_family(optimizer)
    return [member for member in family if len(optimizer_family(member)) == 1]


def stepping_optimizer(optimizer: Optimizer) -> Optimizer:
    """The one optimizer of a family that delegates to no other.

    Raises:
        ValueError: If there are several, as in a `MultiOptimizer`.
    """
    stepping = innermost_optimizers(optimizer)
    names = [type(member).__name__ for member in stepping]
    rule = "one with a single learning rate"
    require(len(stepping) == 1, "model.optimizer", names, rule)
    return stepping[0]


def sole_innermost(optimizer: Optimizer) -> Optimizer | None:
    """As `stepping_optimizer`; None if there are several."""
    innermost = innermost_optimizers(optimizer)
    return innermost[0] if len(innermost) == 1 else None


def build_optimizer(model: keras.Model) -> None:
    """Makes the slots of the optimizer of a model, if any, where its weights are."""
    optimizer = model.optimizer
    if optimizer is not None and not optimizer.built:
        with model.distribute_strategy.scope():
            optimizer.build(model.trainable_variables)


def updates_so_far(optimizer: Optimizer) -> int:
    """How often the weights were moved."""
    return int(ops.convert_to_numpy(optimizer.iterations))


def batches_per_update(optimizer: Optimizer) -> int:
    """How many batches an update takes now.

    Gradients may be accumulated in Keras's way or in that of `GradientPipeline`.
    """
    return math.prod(
        int(getattr(member, name, None) or 1)
        for member in optimizer_family(optimizer)
        for name in ("gradient_accumulation_steps", "accumulation_steps")
        # A wrapper answers with what the wrapped one has.
        if name in vars(member)
    )
