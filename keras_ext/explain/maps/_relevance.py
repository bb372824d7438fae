"""How the relevance of what a layer gives is divided among what it takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from keras_ext._core._checks import require
from keras_ext._core._typing import Layer, Tensor
from keras_ext.explain._calls._kinds import (
    ELEMENTWISE_LAYERS,
    ELEMENTWISE_OPERATIONS,
    LINEAR_LAYERS,
    LINEAR_OPERATIONS,
    MAX_LAYERS,
    SUMMING_LAYERS,
    WEIGHTED_LAYERS,
)
from keras_ext.explain._calls._record import Call, wide
from keras_ext.explain._methods._deep_rules import elementwise, of_activation, summed
from keras_ext.explain.maps._linear import Linear, linear_parts

# Sums and means; the other linear layers without weights only move elements.
_SUMMING_OPERATIONS = ("Add", "Subtract", "Sum", "Mean")
# Each element becomes one.
_PASSING_LAYERS = (
    *ELEMENTWISE_LAYERS,
    layers.BatchNormalization,
    layers.Masking,
    layers.Normalization,
    layers.Rescaling,
)
_PASSING_OPERATIONS = (*ELEMENTWISE_OPERATIONS, "Negative")
# The same, where the other operand does not depend on the inputs.
_BROADCASTING = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide")
# By their types in a graph.
_POSITIVE = {"Relu", "Relu6", "Sigmoid", "Softmax", "Softplus"}
_KEEPING_SIGNS = {"AvgPool", "Cast", "Identity", "MaxPool", "Pad", "Reshape"}
# Where nothing but rounding is to be kept from being divided by.
_TINY = 1e-9

RULES = ("epsilon", "gamma", "alpha_beta")
# That of one tensor, for each of the outputs that are explained.
Relevance = Sequence[Tensor]


@dataclass(frozen=True)
class Weighing:
    """How layers with weights divide relevance.

    Attributes:
        rule: From a layer to the name of its rule.
        epsilon: What is added to the size of sums.
        gamma: By how much positive products count more, under `"gamma"`.
        alpha: What positive products get, under `"alpha_beta"`; negative ones get the
            rest.
    """

    rule: Callable[[keras.Layer], str]
    epsilon: float
    gamma: float
    alpha: float

    def divide(
        self, layer: Layer, linear: Linear, x: Tensor, own: Relevance
    ) -> Relevance:
        """The relevance of `x`, of which `linear` has made what has `own`."""
        rule = self.rule(layer)
        require(rule in RULES, "rule", rule, f"one of {RULES}, for each layer")
        if rule == "epsilon":
            return shared(linear, [x], own, self.epsilon)[0]
        if rule == "gamma" and _is_positive(x):

            def alone(p: Tensor) -> Tensor:
                return linear.favored(p, None, self.gamma)

            return shared(alone, [x], own, self.epsilon)[0]
        signs = [tf.nn.relu(x), -tf.nn.relu(-x)]
        if rule == "gamma":

            def boosted(p: Tensor, n: Tensor) -> Tensor:
                return linear.favored(p, n, self.gamma)

            return list(map(tf.add, *shared(boosted, signs, own, self.epsilon)))
        up, down = (
            shared(lambda p, n, s=s: linear.signed(p, n, s), signs, own, self.epsilon)
            for s in (True, False)
        )
        return [
            self.alpha * (a + b) - (self.alpha - 1) * (c + d)
            for a, b, c, d in zip(*up, *down, strict=True)
        ]


def _is_positive(x: Tensor) -> bool:
    """Whether it can be seen that nothing in a tensor is negative."""
    operation = getattr(x, "op", None)  # eager tensors have none
    while operation is not None and operation.type in _KEEPING_SIGNS:
        operation = operation.inputs[0].op
    return operation is not None and operation.type in _POSITIVE


def shared(
    function: Callable[..., Tensor],
    x: Sequence[Tensor],
    own: Relevance,
    epsilon: float = _TINY,
) -> list[Relevance]:
    """Divides relevance among inputs in the proportion in which they add to sums."""
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(x)
        sums = function(*x)
    # With the sign of the sum: it never comes nearer to 0.
    safe = sums + tf.where(sums < 0, -epsilon, epsilon)
    ratios = [tf.math.divide_no_nan(r, safe) for r in own]
    found = [pulled(tape, sums, x, ratio) for ratio in ratios]
    # Of a linear function, input times gradient is what the input adds to the sum.
    return [[a * row[i] for row in found] for i, a in enumerate(x)]


def pulled(
    tape: tf.GradientTape, y: Tensor, x: Sequence[Tensor], given: Tensor | None = None
) -> list[Tensor]:
    """The gradients of `y`, times what is given; zeros where there are none."""
    none = tf.UnconnectedGradients.ZERO
    found = tape.gradient(y, list(x), given, unconnected_gradients=none)
    return [tf.convert_to_tensor(g) for g in found]


@dataclass(frozen=True)
class Step:
    """A call that relevance goes back through.

    Attributes:
        call: The call.
        normalization: The layer that normalizes what it gives, if that is its only use.
    """

    call: Call
    normalization: layers.BatchNormalization | None = None

    def __call__(self, *x: Tensor) -> Tensor:
        """Computes again for other inputs."""
        points = zip(self.call.inputs, x, strict=True)
        by_id = {id(known): point for known, point in points}
        (y,) = self.call.again(lambda t: by_id.get(id(t), t))
        return y

    @property
    def inputs(self) -> list[Tensor]:
        """The inputs in float32."""
        return [wide(x) for x in self.call.inputs]

    def divided(self, own: Relevance, weighing: Weighing) -> list[Relevance]:
        """The relevance of each input.

        Raises:
            ValueError: If there is no rule for the layer or operation.
        """
        rule = _rule_of(self.call)
        operation = self.call.operation
        kind = type(operation).__name__
        name = getattr(operation, "name", getattr(operation, "__name__", kind))
        expected = "made of layers that relevance has a rule for"
        hint = 'Use `input_x_gradient`, or `Explainer` with method="deep".'
        require(rule is not None, "model", f"{kind} {name!r}", expected, hint)
        return rule(self, own, weighing)


def _rule_of(call: Call) -> Any:
    operation, name = call.operation, type(call.operation).__name__
    if isinstance(operation, layers.Layer):
        return _rule_of_layer(operation)
    if not isinstance(operation, keras.Operation):  # an activation
        return _passing if of_activation(operation) is elementwise else None
    if name in _BROADCASTING and _count(call) == 1:
        return _passing
    for rule, names in _OPERATIONS:
        if name in names:
            return rule
    return None


def _count(call: Call) -> int:
    """How many of the arguments depend on the inputs, each as often as it comes."""
    known = {id(x) for x in call.inputs}
    return sum(id(x) in known for x in keras.tree.flatten((call.args, call.kwargs)))


def _rule_of_layer(layer: Layer) -> "_Rule | None":
    if isinstance(layer, layers.Activation):
        return _passing if of_activation(layer.activation) is elementwise else None
    for rule, kinds in _LAYERS:
        if isinstance(layer, kinds):
            return rule
    return None


def _weighted(step: Step, own: Relevance, weighing: Weighing) -> list[Relevance]:
    layer, (x,) = step.call.operation, step.inputs
    parts = linear_parts(layer, step, step.normalization)
    points = [x]
    for part in parts[:-1]:
        points.append(part(points[-1]))
    for part, point in zip(reversed(parts), reversed(points), strict=True):
        own = weighing.divide(layer, part, point, own)
    return [own]


def _summing(step: Step, own: Relevance, weighing: Weighing) -> list[Relevance]:
    del weighing
    return shared(step, step.inputs, own)


def _moving(step: Step, own: Relevance, weighing: Weighing) -> list[Relevance]:
    """To where it came from; in a maximum, to the largest."""
    del weighing
    x = step.inputs
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(x)
        y = step(*x)
    return list(zip(*[pulled(tape, y, x, r) for r in own], strict=True))


def _passing(step: Step, own: Relevance, weighing: Weighing) -> list[Relevance]:
    del weighing
    return [[summed(r, step.call.inputs[0]) for r in own]]


def _multiplying(step: Step, own: Relevance, weighing: Weighing) -> list[Relevance]:
    """To the factors, in equal parts; what is broadcast is a gate, and gets nothing.

    As the gates of squeeze-and-excitation: they weigh a signal, as weights do.
    """
    del weighing
    factors, (y,) = step.inputs, step.call.outputs
    of_y = [x.shape[1:] == y.shape[1:] for x in factors]
    gets = of_y if any(of_y) else [True] * len(of_y)
    return [
        [summed(r / sum(gets), x) if mine else tf.zeros_like(x) for r in own]
        for x, mine in zip(factors, gets, strict=True)
    ]


# The first that fits counts.
_Rule = Callable[[Step, Relevance, Weighing], list[Relevance]]
_LAYERS: tuple[tuple[_Rule, type | tuple[type, ...]], ...] = (
    (_weighted, WEIGHTED_LAYERS),
    (_summing, SUMMING_LAYERS),
    (_multiplying, layers.Multiply),
    (_passing, _PASSING_LAYERS),
    (_moving, (*LINEAR_LAYERS, *MAX_LAYERS)),
)
_OPERATIONS: tuple[tuple[_Rule, Sequence[str]], ...] = (
    (_summing, _SUMMING_OPERATIONS),
    (_multiplying, ("Multiply",)),
    (_passing, _PASSING_OPERATIONS),
    (_moving, LINEAR_OPERATIONS),
)
