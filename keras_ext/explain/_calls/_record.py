"""Which layers a model calls with what, noted while its graph is traced."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._linked_method import Link, linked_calls
from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Function, Tensor
from keras_ext._keras._functional import is_functional
from keras_ext.explain._lookups import Lookups, embeddings_in, replaying
from keras_ext.explain._model_function import ModelFunction
from keras_ext.explain._reach import reached
from keras_ext.explain._widening import is_whole, widened

# What Keras does between layers with what the one gives and the other takes.
_PASSING = {"Cast", "Identity"}
# The same, to axes of length 1.
_RESHAPING = {"ExpandDims", "Reshape", "Squeeze"}
_HINT = 'Use a method that takes no gradients, such as "permutation".'


@dataclass(frozen=True)
class Call:
    """One call of a layer or operation.

    Attributes:
        operation: The layer or operation.
        function: What it computes.
        args: The arguments.
        kwargs: The named ones.
        output: What it has returned.
        inputs: The real numbers among the arguments that depend on the inputs of the
            model, in the order of the arguments, each once; then those of `lookups`.
        lookups: What each embedding layer within has given, None where its tokens are
            no part of an input.
        number: Which call of an embedding layer of the model it is, if of one.
    """

    operation: Any
    function: Function
    args: tuple[object, ...]
    kwargs: dict[str, object]
    output: Any
    inputs: Sequence[Tensor]
    lookups: Sequence[Tensor | None] = ()
    number: int | None = None

    @property
    def num_tensors(self) -> int:
        """How many of the arguments are tensors, each as often as it comes."""
        return sum(map(tf.is_tensor, keras.tree.flatten((self.args, self.kwargs))))

    @property
    def outputs(self) -> list[Tensor]:
        """The tensors of real numbers among what it has returned."""
        return [x for x in keras.tree.flatten(self.output) if is_real(x)]

    def again(self, replace: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """Calls it with other tensors in place of all tensors of the arguments.

        In float32: outside of a model, layers do not bring their weights to float16.
        """
        args, kwargs = keras.tree.map_structure(
            lambda x: wide(replace(x)) if tf.is_tensor(x) else x,
            (self.args, self.kwargs),
        )
        within = [x if x is None else wide(replace(x)) for x in self.lookups]
        with replaying(embeddings_in(self.operation) if within else [], within):
            flat = keras.tree.flatten(self.function(*args, **kwargs))
        return [wide(x) for x in flat if is_real(x)]


def is_real(x: Data) -> bool:
    """Whether this is a tensor of real numbers."""
    return tf.is_tensor(x) and x.dtype.is_floating


def wide(x: Tensor) -> Tensor:
    """Real numbers in float32, and anything else as it is."""
    return tf.cast(x, tf.float32) if is_real(x) else x


class Record:
    """The calls of a model, and what came from where.

    Args:
        given: What the model is called with.
        lookups: The calls of embedding layers in it.

    Attributes:
        calls: The calls, in their order.
    """

    def __init__(self, given: Sequence[Tensor], lookups: Lookups) -> None:
        self.calls: list[Call] = []
        self._lookups = lookups.calls
        self._num_looked_up = 0
        self._within: list[Tensor | None] = []
        # Whole numbers are known as well: tokens, and what is computed with.
        self._known = {id(x): x for x in given}
        self._noted: dict[int, Tensor] = {}
        # What takes what has no gradient.
        self._unreal: list[tuple[object, Tensor]] = []

    def add(
        self,
        operation: keras.Operation | Function | str,
        function: Function,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> Any:
        """Calls a function and notes it."""
        tensors = filter(tf.is_tensor, keras.tree.flatten((args, kwargs)))
        given = {id(x): x for x in tensors}
        self._within = []
        # Dropout, for one, returns what it was given; here each has a place of its own.
        output = keras.tree.map_structure(
            lambda y: tf.identity(y) if id(y) in given else y, function(*args, **kwargs)
        )
        number = None
        if isinstance(operation, keras.layers.Embedding):
            number = self._next_lookup()
        for x in given.values():
            self._follow(operation, x)
        found = [x for x in given.values() if is_real(x) and self._is_known(x)]
        within, self._within = self._within, []
        found += [x for x in within if x is not None]
        call = Call(operation, function, args, kwargs, output, found, within, number)
        self.calls.append(call)
        is_lookup = number is not None and self._lookups[number] is not None
        if found or is_lookup:
            self._known |= {id(x): x for x in call.outputs}
        flat = filter(tf.is_tensor, keras.tree.flatten(output))
        self._noted |= {id(x): x for x in flat}
        return output

    def look_up(self, function: Function, tokens: Tensor) -> Tensor:
        """Calls an embedding layer within a layer, and notes what it has given."""
        number = self._next_lookup()
        output = function(tokens)
        lookup = self._lookups[number]
        if lookup is None:
            self._within.append(None)
            return output
        leaf = tf.identity(output)
        self._within.append(leaf)
        call = Call(lookup.layer, function, (tokens,), {}, leaf, [], (), number)
        self.calls.append(call)
        self._known[id(leaf)] = leaf
        return leaf

    def lose(self, operation: object, x: Tensor) -> None:
        """Notes that an operation takes what it has no gradient for."""
        self._unreal.append((operation, x))

    def require_followed(
        self, columns: Tensor, inputs: Sequence[tuple[str, Tensor]]
    ) -> None:
        """Raises if the outputs depend on inputs that no call was followed back to.

        Args:
            columns: The outputs.
            inputs: Those inputs, by their names.
        """
        for name, x in inputs:
            if not reached(columns, {id(x)}):
                continue
            via = [
                getattr(operation, "name", type(operation).__name__)
                for operation, tensor in reversed(self._unreal)
                if reached(tensor, {id(x)})
            ]
            through = f", at {via[0]!r}" if via else ""
            rule = f"such that input {name!r} goes on as real numbers{through}"
            require(False, "inputs", x.dtype.name, rule, _HINT)

    def _next_lookup(self) -> int:
        self._num_looked_up += 1
        return self._num_looked_up - 1

    def _is_known(self, x: Tensor) -> bool:
        return self.origin(x) is not None

    def _follow(self, operation: object, x: Tensor) -> None:
        """Notes by what way an argument came, where this was no call."""
        if not is_real(x):
            self.lose(operation, x)
        elif not self._is_known(x) and id(x) not in self._noted:
            self._bridge(operation, x)

    def _bridge(self, operation: object, x: Tensor) -> None:
        """Notes as a call what Keras does between layers to the axes of a tensor."""
        source = x.op.inputs[0] if _is_reshaped(x) else None
        if source is not None and is_real(source) and self._is_known(source):
            shape = [-1 if n is None else n for n in x.shape[1:]]
            layer = keras.layers.Reshape(shape)
            self.calls.append(Call(layer, layer.call, (source,), {}, x, [source]))
            self._known[id(x)] = x
            return
        real = {i for i, known in self._known.items() if is_real(known)}
        name = getattr(operation, "name", type(operation).__name__)
        rule = f"such that what comes to {name!r} comes from layers or operations"
        lost = reached(x, real, self._noted.keys() - real)
        require(not lost, "model", type(operation).__name__, rule, _HINT)

    def origin(self, tensor: Tensor) -> Tensor | None:
        """What came out of a call, or was given, and is or was cast to this tensor."""
        while id(tensor) not in self._known:
            operation = getattr(tensor, "op", None)  # eager tensors have none
            if operation is None or operation.type not in _PASSING:
                return None
            tensor = operation.inputs[0]
        return tensor


def _is_reshaped(x: Tensor) -> bool:
    operation = getattr(x, "op", None)
    return operation is not None and operation.type in _RESHAPING


def record_outputs(
    function: ModelFunction, parts: Sequence[Tensor], lookups: Lookups
) -> tuple[Record, list[Tensor], Tensor]:
    """Computes the explained outputs of parts, noting the calls of the model.

    Models made of layers are looked into, also when they are in one another; anything
    else is one operation. Two more calls are noted, named `"select"` and `"link"`.

    Args:
        function: The model.
        parts: Tensors `(rows, elements)`.
        lookups: The calls of embedding layers.

    Returns:
        The record, the inputs in their shapes, and the outputs, `(rows, outputs)`.
    """
    inputs, model = function.inputs, function.model
    ends = np.cumsum([0, *inputs.sizes])
    looked_up = np.diff(np.searchsorted(lookups.elements, ends)) > 0
    # What is given twice, or is given on as it is, has a place of its own.
    given = [tf.identity(x) for x in inputs.shaped(parts)]
    found = Record(given, lookups)
    made_of = operations(model)
    known = {id(one) for one in made_of}
    # Their origin is what is given, as that of all that is cast.
    reals = {
        id(x): tf.cast(x, tf.float32)
        for x, is_looked_up in zip(given, looked_up, strict=True)
        if is_whole(x.dtype) and not is_looked_up
    }
    within = [x for x in embeddings_in(model) if id(x) not in known]
    with (
        linked_calls(made_of, lambda one: _noting(one, found)),
        linked_calls(within, lambda _: _looking_up(found)),
        widened(made_of if reals else [], reals),
    ):
        raw = model(inputs.arranged(given), training=False)
    columns = found.add("select", function.selected, (raw,), {})
    if function.link != "identity":
        columns = found.add("link", function.linked, (columns,), {})
    return found, given, columns


def operations(model: keras.Model) -> list[keras.Operation]:
    """The layers and operations that a model is made of, each once."""
    found: dict[int, keras.Operation] = {}
    waiting = [model]
    while waiting:
        member = waiting.pop()
        inside = _inside(member)
        if inside is None:
            found[id(member)] = member
        else:
            waiting += inside
    return list(found.values())


def _inside(member: keras.Operation) -> Sequence[keras.Operation] | None:
    """The parts of a model that is made of layers; None of anything else."""
    if isinstance(member, keras.Sequential):
        return [x for x in member.layers if not isinstance(x, keras.layers.InputLayer)]
    if is_functional(member):
        kind = keras.layers.InputLayer
        return [x for x in member.operations if not isinstance(x, kind)]
    return None


def _noting(operation: keras.Operation, found: Record) -> Link:
    return lambda function: (
        lambda *args, **kwargs: found.add(operation, function, args, kwargs)
    )


def _looking_up(found: Record) -> Link:
    return lambda function: lambda tokens: found.look_up(function, tokens)
