"""How the multipliers of what a layer gives become those of what it takes.

A multiplier says by how much an output changes, for each unit by which an element of
the row differs from that of the background. Every rule keeps the sum of multiplier
times difference, so that in the end it is the difference of the outputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import keras
import tensorflow as tf
from keras import activations, layers

from keras_ext._core._typing import Function, Layer, Tensor
from keras_ext.explain._calls._kinds import (
    ELEMENTWISE,
    ELEMENTWISE_LAYERS,
    ELEMENTWISE_OPERATIONS,
    LINEAR_LAYERS,
    LINEAR_OPERATIONS,
    MAX_LAYERS,
    SCALING_OPERATIONS,
)
from keras_ext.explain._calls._record import Call, wide

# Differences below this are taken for none: there the slope is the derivative.
_NONE = 1e-6


@dataclass(frozen=True)
class Pairs:
    """Every row beside every row of the background.

    Tensors of a record have the rows first, then those of the background. What is
    computed with them here, multipliers too, is in float32.

    Attributes:
        rows: How many rows there are.
        behind: How many background rows.
        nodes: Where on the way between them general layers are looked at, 0 to 1.
        weights: What each node counts.
    """

    rows: Tensor
    behind: Tensor
    nodes: Tensor
    weights: Tensor

    def own(self, tensor: Tensor) -> Tensor:
        """What the row has, for each pair."""
        return tf.repeat(wide(tensor)[: self.rows], self.behind, axis=0)

    def other(self, tensor: Tensor) -> Tensor:
        """What the background row has, for each pair."""
        tail = wide(tensor)[self.rows :]
        return tf.tile(tail, (self.rows, *[1] * (tail.shape.rank - 1)))

    def difference(self, tensor: Tensor) -> Tensor:
        """How the row differs from the background row, for each pair."""
        tensor = wide(tensor)
        difference = tensor[: self.rows, None] - tensor[None, self.rows :]
        return tf.reshape(difference, (-1, *tensor.shape[1:]))


Multipliers = Sequence[Tensor]
# None for an input that no gradient leads back to.
Rule = Callable[[Call, Pairs, Multipliers], Sequence[Tensor | None]]


def rule_of(call: Call) -> Rule:
    """The rule for a call."""
    operation, name = call.operation, type(call.operation).__name__
    if isinstance(operation, layers.Layer):
        return _rule_of_layer(operation, call)
    scales = name in SCALING_OPERATIONS and call.num_tensors == 1
    first, *_ = keras.tree.flatten((call.args, call.kwargs))
    if scales and name != "Multiply" and not tf.is_tensor(first):
        return elementwise  # a number over what there is
    if name in LINEAR_OPERATIONS or scales:
        return linear
    if name in ELEMENTWISE_OPERATIONS and call.num_tensors == 1:
        return elementwise
    if name == "Multiply" and len(call.inputs) == 2:
        return product
    return general


def is_general(rule: Rule, call: Call) -> bool:
    """Whether nodes on the way are looked at."""
    if rule is activated:
        return of_activation(call.operation.activation) is general
    return rule is general


def _rule_of_layer(layer: Layer, call: Call) -> Rule:
    if isinstance(layer, LINEAR_LAYERS):
        return activated if _is_activated(layer) else linear
    if isinstance(layer, MAX_LAYERS):
        return maximum
    if isinstance(layer, layers.Multiply) and len(call.inputs) == 2:
        return product
    if isinstance(layer, ELEMENTWISE_LAYERS):
        return elementwise
    if isinstance(layer, layers.Activation):
        return of_activation(layer.activation)
    if isinstance(layer, layers.Softmax) and isinstance(layer.axis, int):
        return lambda call, pairs, m: softmax(call.inputs[0], layer.axis, pairs, m)
    return general


def _is_activated(layer: Layer) -> bool:
    return getattr(layer, "activation", None) not in (None, activations.linear)


def of_activation(function: Function) -> Rule:
    """The rule for an activation function."""
    if function is activations.softmax:
        return lambda call, pairs, m: softmax(call.inputs[0], -1, pairs, m)
    known = [getattr(activations, name, None) for name in ELEMENTWISE]
    return elementwise if function in known else general


def activated(call: Call, pairs: Pairs, multipliers: Multipliers) -> list[Tensor]:
    """A linear layer, then its activation."""
    first, second = split(call)
    inner = of_activation(second.operation)(second, pairs, multipliers)
    return linear(first, pairs, [m for m in inner if m is not None])


def split(call: Call) -> tuple[Call, ...]:
    """What a linear layer computes, and in a call of its own the activation, if any."""
    layer = call.operation
    if not (isinstance(layer, LINEAR_LAYERS) and _is_activated(layer)):
        return (call,)
    function = layer.activation

    def without(*args: object, **kwargs: object) -> Tensor:
        # The layer applies `activation` itself, after the linear part.
        object.__setattr__(layer, "activation", activations.linear)
        try:
            return call.function(*args, **kwargs)
        finally:
            object.__setattr__(layer, "activation", function)

    first = Call(layer, without, call.args, call.kwargs, None, call.inputs)
    (before,) = first.again(lambda x: x)
    second = Call(function, function, (before,), {}, call.output, [before])
    return replace(first, output=before), second


def linear(call: Call, pairs: Pairs, multipliers: Multipliers) -> list[Tensor]:
    """The gradient, which is the same everywhere."""
    return _gradients(call, [pairs.own(x) for x in call.inputs], multipliers, pairs)


def elementwise(call: Call, pairs: Pairs, multipliers: Multipliers) -> list[Tensor]:
    """The slope between the two, or the derivative where they are equal."""
    (x,), (y,) = call.inputs, call.outputs
    run, rise = pairs.difference(x), pairs.difference(y)
    slope = _gradients(call, [pairs.own(x)], [tf.ones_like(rise)], pairs)[0]
    near = tf.abs(run) < _NONE
    slope = tf.where(near, slope, rise / tf.where(near, tf.ones_like(run), run))
    return [multipliers[0] * slope]


def maximum(call: Call, pairs: Pairs, multipliers: Multipliers) -> list[Tensor]:
    """Pooling: what is above the other's maximum belongs to who has it.

    From the background to the larger of both maxima the change is due to the row, from
    there to the maximum of the row to the background.
    """
    (x,), (y,) = call.inputs, call.outputs
    own, other = pairs.own(y), pairs.other(y)
    larger = tf.maximum(own, other)
    (m,) = multipliers
    up = _gradients(call, [pairs.own(x)], [m * (larger - other)], pairs)[0]
    down = _gradients(call, [pairs.other(x)], [m * (own - larger)], pairs)[0]
    run = pairs.difference(x)
    near = tf.abs(run) < _NONE
    safe = tf.where(near, tf.ones_like(run), run)
    return [tf.where(near, tf.zeros_like(run), (up + down) / safe)]


def softmax(
    x: Tensor, axis: int, pairs: Pairs, multipliers: Multipliers
) -> list[Tensor]:
    """Exponentials, times one over their sum, by the rule for products.

    Both rows of a pair are shifted by one constant, which changes nothing: rows that
    are each shifted by their own maximum would have it hidden in the differences.
    """
    (m,) = multipliers
    own, other = pairs.own(x), pairs.other(x)
    top = tf.reduce_max(tf.maximum(own, other), axis=axis, keepdims=True)
    e_own, e_other = tf.exp(own - top), tf.exp(other - top)
    s_own, s_other = (
        tf.reduce_sum(e, axis=axis, keepdims=True) for e in (e_own, e_other)
    )
    # The difference of 1 / s is -(s_own - s_other) / (s_own * s_other).
    through_sum = tf.reduce_sum(m * (e_own + e_other) / 2, axis=axis, keepdims=True)
    m_e = m * (1 / s_own + 1 / s_other) / 2 - through_sum / (s_own * s_other)
    run = own - other
    near = tf.abs(run) < _NONE
    safe = tf.where(near, tf.ones_like(run), run)
    # The derivative of an exponential is itself.
    return [m_e * tf.where(near, e_own, (e_own - e_other) / safe)]


def product(call: Call, pairs: Pairs, multipliers: Multipliers) -> list[Tensor]:
    """Each factor, times the mean of what the other is."""
    a, b = call.inputs
    (m,) = multipliers
    # a b - a' b' is (a - a') times the mean of b, and (b - b') times that of a.
    mean = [(pairs.own(x) + pairs.other(x)) / 2 for x in (a, b)]
    return [summed(m * mean[1], mean[0]), summed(m * mean[0], mean[1])]


def summed(gradient: Tensor, like: Tensor) -> Tensor:
    """Sums over the axes along which `like` was repeated."""
    while gradient.shape.rank > like.shape.rank:
        gradient = tf.reduce_sum(gradient, axis=1)
    axes = [
        i
        for i in range(1, like.shape.rank)
        if like.shape[i] == 1 and gradient.shape[i] != 1
    ]
    return tf.reduce_sum(gradient, axis=axes, keepdims=True) if axes else gradient


def general(call: Call, pairs: Pairs, multipliers: Multipliers) -> list[Tensor | None]:
    """Any layer: the mean gradient on the line between the two (Aumann-Shapley)."""
    count = tf.size(pairs.nodes)

    def between(x: Tensor) -> Tensor:
        own, other = pairs.own(x)[:, None], pairs.other(x)[:, None]
        t = tf.reshape(pairs.nodes, (1, -1, *[1] * (x.shape.rank - 1)))
        points = other + t * (own - other)
        return tf.reshape(points, (-1, *x.shape[1:]))

    repeated = [tf.repeat(m, count, axis=0) for m in multipliers]
    points = [between(x) for x in call.inputs]
    found = _connected(call, points, repeated, pairs, count)
    result: list[Tensor | None] = []
    for gradient in found:
        if gradient is None:
            result.append(None)
            continue
        shape = (-1, count, *gradient.shape[1:])
        w = tf.reshape(pairs.weights, (1, -1, *[1] * (gradient.shape.rank - 1)))
        result.append(tf.reduce_sum(tf.reshape(gradient, shape) * w, axis=1))
    return result


def _gradients(
    call: Call, points: Sequence[Tensor], multipliers: Multipliers, pairs: Pairs
) -> list[Tensor]:
    """The same, with zeros for what there is no gradient of."""
    found = _connected(call, points, multipliers, pairs)
    return [
        tf.zeros_like(point) if g is None else g
        for g, point in zip(found, points, strict=True)
    ]


def _connected(
    call: Call,
    points: Sequence[Tensor],
    multipliers: Multipliers,
    pairs: Pairs,
    count: Tensor | int = 1,
) -> list[Tensor | None]:
    """The gradients at some points, of the outputs times their multipliers."""
    by_id = {id(x): point for x, point in zip(call.inputs, points, strict=True)}

    def point_of(x: Tensor) -> Tensor:
        if id(x) in by_id:
            return by_id[id(x)]
        # Masks and tokens are those of the row.
        of_rows = x.shape.rank and x.shape[0] is None
        return tf.repeat(pairs.own(x), count, axis=0) if of_rows else x

    unique = list(by_id.values())
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(unique)
        outputs = call.again(point_of)
    found = tape.gradient(outputs, unique, list(multipliers))
    return [None if g is None else tf.convert_to_tensor(g) for g in found]
