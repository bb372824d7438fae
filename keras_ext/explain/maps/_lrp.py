"""Layer-wise relevance propagation."""

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import activations, layers

from keras_ext._core._checks import number, require
from keras_ext._core._typing import Data, OutputChoice, Tensor
from keras_ext.explain._calls._kinds import WEIGHTED_LAYERS
from keras_ext.explain._calls._record import Call, Record, record_outputs, wide
from keras_ext.explain._lookups import Lookup, Lookups
from keras_ext.explain._methods._deep_rules import split
from keras_ext.explain.maps._question import Map, Question
from keras_ext.explain.maps._relevance import RULES, Relevance, Step, Weighing, pulled

_PROBABILITIES = (
    *(activations.softmax, activations.log_softmax),
    *(activations.sigmoid, activations.log_sigmoid),
)
# After so many calls it is said how far it is; a single one tells little.
_REPORTED = 32
# The same between layers, by the names of their classes.
_OPERATIONS = ("Softmax", "LogSoftmax", "Sigmoid", "LogSigmoid")


def lrp(  # noqa: PLR0913
    model: keras.Model,
    x: Data,
    *,
    outputs: OutputChoice = "top",
    rule: str | Callable[[keras.Layer], str] = "epsilon",
    epsilon: float = 1e-6,
    gamma: float = 0.25,
    alpha: float = 2.0,
    batch_size: int | str = "auto",
    jit: bool = False,
) -> Map:
    """Maps what each element adds to an output, layer by layer (LRP).

    From the output back to the inputs, each layer divides the relevance of a sum among
    what was added, in proportion. Biases keep their share; without them, the map adds
    up to the output. Elementwise activations pass all relevance on, maxima to the
    largest. Batch normalization counts as part of the linear layer before it, and
    elsewhere passes on. Of a softmax or sigmoid at the end the logits are explained.

    Factors of a product get equal parts; but one that is broadcast, such as that of
    squeeze-and-excitation, is a gate that weighs the other, and gets nothing.

    For networks of common layers; attention, recurrent layers and layer normalization
    have no rule.

    Args:
        model: A built functional or `Sequential` model; it is called in inference mode.
        x: The rows, as the model takes them: an array, or a list, tuple or dictionary
            of arrays, or a DataFrame.
        outputs: Which outputs, as for `Explainer`; a function gets logits, and should
            be linear, such as the difference of two. Defaults to `"top"`.
        rule: How layers with weights divide: by `"epsilon"`, which for ReLUs is
            `input_x_gradient`, but for what `epsilon` leaves out; `"gamma"`, with more
            for what adds to a sum, calmer for deep convolutional networks; or
            `"alpha_beta"`, which divides positive and negative parts each by
            themselves. Or a function from a layer to its rule: often `"gamma"` for
            convolutions and `"epsilon"` for dense layers. Defaults to `"epsilon"`.
        epsilon: Non-negative number, which is added to the size of each sum. What is
            weak or contradicts itself is left out up to about this size. Defaults to
            `1e-6`.
        gamma: Non-negative number, by how much positive products count more under
            `"gamma"`. Defaults to `0.25`.
        alpha: Number >= 1; under `"alpha_beta"` the positive products get `alpha` times
            the relevance, and the negative ones `1 - alpha` times. At 1 only the
            positive count (the z+ rule). Defaults to `2.0`.
        batch_size: How many rows the model gets at a time, or `"auto"` for a number
            that follows from the memory that a row takes. Defaults to `"auto"`.
        jit: Whether to compile with XLA. Defaults to `False`.

    Returns:
        Array of the shape of `x`; for several inputs a dictionary of such, by name. If
        there are several outputs, they have an axis of their own, the last.

    Raises:
        ValueError: If an argument is not of this form, or there is no rule for a layer.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[1.0], [-2.0], [0.0]]), np.zeros(1)])
        >>> x = np.array([[3.0, 1.0, 5.0]])
        >>> print(kx.explain.maps.lrp(model, x).round(4))
        [[ 3. -2.  0.]]
        >>> print(kx.explain.maps.lrp(model, x, rule="alpha_beta").round(4))
        [[ 2. -1.  0.]]

    References:
        - [Bach et al., 2015](https://doi.org/10.1371/journal.pone.0130140)
        - [Montavon et al., 2019](https://doi.org/10.1007/978-3-030-28954-6_10)
    """
    known = callable(rule) or (isinstance(rule, str) and rule in RULES)
    require(known, "rule", rule, f"one of {RULES}, or a function that gives one")
    epsilon = number(epsilon, "epsilon", low=0)
    gamma = number(gamma, "gamma", low=0)
    alpha = number(alpha, "alpha", low=1)
    choose = rule if callable(rule) else lambda _: rule
    weighing = Weighing(choose, float(epsilon), float(gamma), float(alpha))
    question = Question(model, x, outputs, batch_size, jit)
    function = question.function
    lookups = Lookups(function, question.parts)

    def compute(parts: list[Tensor], which: Tensor) -> Tensor:
        found, given, columns = record_outputs(function, parts, lookups)
        walk = _Walk(found, lookups)
        walk.begin(lambda columns: function.pick(columns, which))
        # Begun here: what was before says nothing of how long this takes.
        walk.back(weighing, question.progress())
        found.require_followed(columns, walk.missing(function.inputs.names, given))
        k = which.shape[1]
        flat = []
        for part, tensor in zip(parts, given, strict=True):
            own = walk.relevance.get(id(tensor))
            shape = (tf.shape(part)[0], part.shape[1], k)
            every = tf.zeros(shape) if own is None else tf.stack(own, axis=-1)
            flat.append(tf.reshape(every, shape))
        direct = tf.concat(flat, axis=1)
        if not walk.looked_up:
            return direct
        of_outputs = zip(*walk.looked_up, strict=True)
        return direct + tf.stack([tf.add_n(r) for r in of_outputs], axis=-1)

    return question.shaped(question.mapped(question.compiled(compute)))


class _Walk:
    """The way from the outputs of a model back to its inputs.

    Args:
        found: The calls of the model, of which the last chooses outputs.
        lookups: The calls of embedding layers in it.

    Attributes:
        relevance: That of each tensor, by its `id`, as far as it is known.
        looked_up: That of all elements, `(rows, elements)`, from each of the lookups.
    """

    def __init__(self, found: Record, lookups: Lookups) -> None:
        self.relevance: dict[int, Relevance] = {}
        self.looked_up: list[Relevance] = []
        self._lookups = lookups
        self._found = found
        *calls, self._choice = found.calls
        self._calls = [part for call in calls for part in split(call)]
        self._users: dict[int, list[Call]] = {}
        for call in (*self._calls, self._choice):
            for source in self._sources(call):
                self._users.setdefault(id(source), []).append(call)

    def begin(self, pick: Callable[[Tensor], Tensor]) -> None:
        """Gives the outputs, or logits, relevance: what they add to those chosen."""
        ends = [self._logits(source) for source in self._sources(self._choice)]
        points = [wide(end) for end in ends]
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(points)
            chosen = tf.unstack(pick(Step(self._choice)(*points)), axis=1)
        rows = [pulled(tape, y, points) for y in chosen]
        for end, point, own in zip(ends, points, zip(*rows, strict=True), strict=True):
            self._add(end, [point * g for g in own])

    def back(self, weighing: Weighing, progress: Callable[[int, int], None]) -> None:
        """Goes back through all calls, which for deep networks takes a while."""
        for done, call in enumerate(reversed(self._calls), start=1):
            if done % _REPORTED == 0 or done == len(self._calls):
                progress(done, len(self._calls))
            own = [
                self.relevance[id(y)] for y in call.outputs if id(y) in self.relevance
            ]
            number = call.number
            lookup = None if number is None else self._lookups.calls[number]
            if own and lookup is not None:
                self._bring(lookup, own[0])
            elif own and call.inputs:
                step = Step(call, self._normalization(call))
                passed = step.divided(own[0], weighing)
                for source, relevance in zip(self._sources(call), passed, strict=True):
                    self._add(source, relevance)

    def missing(
        self, names: Sequence[str], given: Sequence[Tensor]
    ) -> list[tuple[str, Tensor]]:
        """The inputs that nothing has come back to."""
        size = [0, *(math.prod(x.shape[1:]) for x in given)]
        ends = np.cumsum(size)
        some = np.diff(np.searchsorted(self._lookups.elements, ends)) > 0
        return [
            (name, x)
            for name, x, is_looked_up in zip(names, given, some, strict=True)
            if id(x) not in self.relevance and not is_looked_up
        ]

    def _bring(self, lookup: Lookup, own: Relevance) -> None:
        """A token has what its embedding has."""
        sums = [tf.reduce_sum(r, axis=-1) for r in own]
        self.looked_up.append([self._lookups.brought(lookup, r) for r in sums])

    def _sources(self, call: Call) -> list[Tensor]:
        """Where the inputs come from; what is before an activation is not recorded."""
        origins = [self._found.origin(x) for x in call.inputs]
        pairs = zip(call.inputs, origins, strict=True)
        return [x if origin is None else origin for x, origin in pairs]

    def _logits(self, output: Tensor) -> Tensor:
        """What probabilities are made of; anything else itself."""
        makers = [c for c in self._calls if any(output is y for y in c.outputs)]
        is_last = len(self._users[id(output)]) == 1
        if makers and is_last and _makes_probabilities(makers[0]):
            return self._sources(makers[0])[0]
        return output

    def _normalization(self, call: Call) -> layers.BatchNormalization | None:
        """The batch normalization that is the only one to take what a layer gives."""
        users = self._users.get(id(call.outputs[0]), [])
        is_weighted = isinstance(call.operation, WEIGHTED_LAYERS)
        if is_weighted and [type(c.operation) for c in users] == [
            layers.BatchNormalization
        ]:
            return users[0].operation
        return None

    def _add(self, tensor: Tensor, own: Relevance) -> None:
        known = self.relevance.get(id(tensor))
        both = own if known is None else list(map(tf.add, known, own))
        self.relevance[id(tensor)] = both


def _makes_probabilities(call: Call) -> bool:
    operation = call.operation
    if isinstance(operation, layers.Softmax):
        return True
    if isinstance(operation, layers.Layer | keras.Operation):
        is_activation = isinstance(operation, layers.Activation)
        name = type(operation).__name__
        return name in _OPERATIONS or (
            is_activation and operation.activation in _PROBABILITIES
        )
    return operation in _PROBABILITIES
