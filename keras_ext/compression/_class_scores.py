"""What models give for classes, before their last softmax."""

import keras
from keras import ops

from keras_ext._anatomy._topology import output_places
from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Tensor
from keras_ext._keras._functional import is_graph

# The smallest share whose logarithm is taken, above the smallest float32.
_LEAST = 1e-37
_HINT = "Say from_logits=True if the models end without a softmax, or False."


class ClassScores:
    """Finds the logits of a teacher and a student, however these end.

    Args:
        from_logits: True if both give logits, False if both give shares; None to look
            at how each of them ends.
    """

    def __init__(self, from_logits: bool | None) -> None:
        self._ends = _by_argument(from_logits)

    def look_at(
        self, teacher: keras.Model, student: keras.Model, given: bool | None
    ) -> None:
        """Learns how the models end.

        Args:
            teacher: The one model.
            student: The other model.
            given: `from_logits` as it was given, which comes first.

        Raises:
            ValueError: If it cannot be known, or there are no classes.
        """
        models = (teacher, student)
        if given is None:
            self._ends = [_known_ends(m) for m in models]
        else:
            # One for all outputs, however many there are.
            self._ends = _by_argument(given)

    def logits(self, outputs: Data, *, of: int) -> list[Tensor]:
        """The logits of all outputs, in float32, the last axis being that of classes.

        Args:
            outputs: What a model gives.
            of: 0 for the teacher, and 1 for the student.
        """
        tensors = keras.tree.flatten(outputs)
        ends = self._ends[of]
        ends = ends * len(tensors) if len(ends) == 1 else ends
        return [_logits(t, end) for t, end in zip(tensors, ends, strict=True)]


def _by_argument(from_logits: bool | None) -> list[list[str]]:
    # Without models to look at, as Keras has it.
    return [["softmax" if from_logits is False else ""]] * 2


def _logits(outputs: Tensor, end: str) -> Tensor:
    outputs = ops.cast(outputs, "float32")
    if end == "sigmoid" or outputs.shape[-1] == 1:
        # One number for two classes; the other one has a logit of zero.
        if end in ("sigmoid", "softmax"):
            # The logit is log(p) - log(1 - p). In float32 a sure answer is exactly 0 or
            # 1, of which one of the two logarithms is infinite.
            others = ops.maximum(1.0 - outputs, _LEAST)
            outputs = ops.log(ops.maximum(outputs, _LEAST)) - ops.log(others)
        return ops.concatenate([ops.zeros_like(outputs), outputs], axis=-1)
    # A softmax takes away a constant of each row, which another one adds again.
    return ops.log(ops.maximum(outputs, _LEAST)) if end == "softmax" else outputs


def ends_of(model: keras.Model) -> list[str]:
    """For each output `"softmax"`, `"sigmoid"` or `""` for neither."""
    return [end or "" for end in _ends(model)]


def _known_ends(model: keras.Model) -> list[str]:
    """The same; raises where a model that is no graph stands at an end."""
    ends = _ends(model)
    _require_graph(None not in ends)
    return [str(end) for end in ends]


def _require_graph(known: bool) -> None:
    rule = "True or False, since a model that is no graph does not say how it ends"
    require(known, "from_logits", None, rule, _HINT)


def _ends(model: keras.Model) -> list[str | None]:
    """As `ends_of`, and None where a model that is no graph stands at an end."""
    _require_graph(is_graph(model) and bool(getattr(model, "outputs", None)))
    ends = []
    for tensor, place in zip(model.outputs, _last_ones(model), strict=True):
        end = _end(*place)
        rule = "a model of classes; several outputs of sigmoids are questions of yes/no"
        fits = not (end == "sigmoid" and tensor.shape[-1] != 1)
        require(fits, "model", model.name, rule)
        ends.append(end)
    return ends


def _last_ones(model: keras.Model) -> list[tuple[keras.Operation, int]]:
    """What gives the outputs, layers or operations, and which of its own each is."""
    if isinstance(model, keras.Sequential):
        last = model.layers[-1]
        return [(last, i) for i in range(len(model.outputs))]
    found = {op.name: op for op in model.operations}
    return [(found[name], number) for name, number in output_places(model)]


def _end(last: keras.Operation, number: int) -> str | None:
    if isinstance(last, keras.layers.TimeDistributed):
        last = last.layer
    if isinstance(last, keras.Model):
        return _end(*_last_ones(last)[number]) if is_graph(last) else None
    name = getattr(getattr(last, "activation", None), "__name__", "")
    for end in ("softmax", "sigmoid"):
        # An activation in a layer, or a layer of its own, such as `Softmax`.
        if name == end or type(last).__name__.lower() == end:
            return end
    return ""
