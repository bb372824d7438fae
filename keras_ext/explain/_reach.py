"""What a tensor of a graph depends on."""

from collections.abc import Collection

from keras_ext._core._typing import Tensor

# What depends on shapes alone does not depend on what is in them.
_OF_SHAPES = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"}


def reached(
    tensor: Tensor, wanted: Collection[int], stops: Collection[int] = ()
) -> set[int]:
    """The tensors, by their `id`, that a tensor is made of.

    Args:
        tensor: The tensor.
        wanted: The `id`s of the tensors to look for; what these are made of is not
            looked at.
        stops: The `id`s of tensors not to look behind.
    """
    found: set[int] = set()
    seen: set[int] = set()
    waiting: list[Tensor] = [tensor]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if id(one) in wanted:
            found.add(id(one))
        elif id(one) not in stops:
            operation = getattr(one, "op", None)  # eager tensors have none
            if operation is not None and operation.type not in _OF_SHAPES:
                waiting += operation.inputs
    return found
