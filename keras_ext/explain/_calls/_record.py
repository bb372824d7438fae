"""Which layers a model calls with what, noted while its graph is traced."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from keras_ext._anatomy._linked_method import Link, linked_calls
from keras_ext._core._typing import Tensor
from keras_ext._keras._functional import is_functional
from keras_ext.explain._model_function import ModelFunction

# What Keras does between layers with what the one gives and the other takes.
_PASSING = {"Cast", "Identity"}


@dataclass(frozen=True)
class Call:
    """One call of a layer or operation.

    Attributes:
        operation: The layer or operation.
        function: What it computes.
        args: The arguments.
        kwargs: The named ones.
        output: What it has returned.
        inputs: The tensors among the arguments that depend on the inputs of the model,
            in the order of the arguments, each once.
    """

    operation: Any
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    inputs: Sequence[Tensor]

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
        flat = keras.tree.flatten(self.function(*args, **kwargs))
        return [wide(x) for x in flat if is_real(x)]


def is_real(x: Any) -> bool:
    """Whether this is a tensor of real numbers."""
    return tf.is_tensor(x) and x.dtype.is_floating


def wide(x: Tensor) -> Tensor:
    """Real numbers in float32, and anything else as it is."""
    return tf.cast(x, tf.float32) if is_real(x) else x


class Record:
    """The calls of a model, and what came from where.

    Attributes:
        calls: The calls, in their order.
    """

    def __init__(self, given: Sequence[Tensor]) -> None:
        self.calls: list[Call] = []
        self._known = {id(x): x for x in given}

    def add(
        self,
        operation: Any,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Calls a function and notes it."""
        tensors = filter(tf.is_tensor, keras.tree.flatten((args, kwargs)))
        given = {id(x): x for x in tensors}
        # Dropout, for one, returns what it was given; here each has a place of its own.
        output = keras.tree.map_structure(
            lambda y: tf.identity(y) if id(y) in given else y, function(*args, **kwargs)
        )
        found = {i: x for i, x in given.items() if self.origin(x) is not None}
        self.calls.append(
            Call(operation, function, args, kwargs, output, list(found.values()))
        )
        if found:
            self._known |= {id(x): x for x in self.calls[-1].outputs}
        return output

    def origin(self, tensor: Tensor) -> Tensor | None:
        """What came out of a call, or was given, and is or was cast to this tensor."""
        while id(tensor) not in self._known:
            if tensor.op.type not in _PASSING:
                return None
            tensor = tensor.op.inputs[0]
        return tensor


def record(
    model: keras.Model, given: Sequence[Tensor], run: Callable[[], Any]
) -> tuple[Any, Record]:
    """Runs a model, noting the calls of everything it is made of.

    Models made of layers, functional ones and `Sequential`, are looked into, also
    when they are in one another; anything else is one operation.

    Args:
        model: The model.
        given: The tensors that it is called with.
        run: Calls it.

    Returns:
        What `run` returned, and the record.
    """
    found = Record(given)
    with linked_calls(operations(model), lambda one: _noting(one, found)):
        output = run()
    return output, found


def record_outputs(
    function: ModelFunction, parts: Sequence[Tensor]
) -> tuple[Record, list[Tensor], Tensor]:
    """Computes the explained outputs of parts, noting the calls of the model.

    Two more calls are noted after those, under the names `"select"` and `"link"`.

    Args:
        function: The model.
        parts: Tensors `(rows, elements)`.

    Returns:
        The record, the inputs in their shapes, and the outputs, `(rows, outputs)`.
    """
    inputs = function.inputs
    given = [
        tf.reshape(part, (-1, *shape))
        for part, shape in zip(parts, inputs.shapes, strict=True)
    ]
    raw, found = record(
        function.model,
        given,
        lambda: function.model(inputs.arranged(given), training=False),
    )
    columns = found.add("select", function.selected, (raw,), {})
    if function.link != "identity":
        columns = found.add("link", function.linked, (columns,), {})
    return found, given, columns


def operations(model: Any) -> list[Any]:
    """The layers and operations that a model is made of, each once."""
    found: dict[int, Any] = {}
    waiting = [model]
    while waiting:
        member = waiting.pop()
        inside = _inside(member)
        if inside is None:
            found[id(member)] = member
        else:
            waiting += inside
    return list(found.values())


def _inside(member: Any) -> Sequence[Any] | None:
    """The parts of a model that is made of layers; None of anything else."""
    if isinstance(member, keras.Sequential):
        return [x for x in member.layers if not isinstance(x, keras.layers.InputLayer)]
    if is_functional(member):
        kind = keras.layers.InputLayer
        return [x for x in member.operations if not isinstance(x, kind)]
    return None


def _noting(operation: Any, found: Record) -> Link:
    return lambda function: (
        lambda *args, **kwargs: found.add(operation, function, args, kwargs)
    )
