"""Arguments that a compiled step has taken in, which nobody changes unheard."""

import inspect
from functools import cache
from typing import ClassVar

from keras_ext._core._checks import require

# What is no part of a step, and what reaches it by itself.
_FREE = {"name", "learning_rate", "verbose"}
_PLAIN = (bool, int, float, str, type(None))


class CompiledArguments:
    """Refuses an argument of the constructor that is set when a step has taken it in.

    `optimizer.epsilon = 1e-3` in mid-training changes nothing with Keras, and
    `get_config` says 1e-3. What can change has a `HyperVariable` or was made live; all
    else that a step reads as a plain number or word is part of it from its build on.
    """

    # Which arguments, added to those of the bases; None means all.
    compiled: ClassVar[frozenset[str] | None] = None
    # Where one should look, in an error.
    way_out: ClassVar[str] = "Make a new one with it."

    @property
    def is_compiled_in(self) -> bool:
        """Whether a step may have been compiled with the arguments."""
        return bool(getattr(self, "built", False))

    def __setattr__(self, name: str, value: object) -> None:
        kind: type = type(self)
        present = vars(self).get(name, value)
        if (
            value is not present
            and type(present) in _PLAIN
            and name in compiled_arguments(kind)
            and self.is_compiled_in
        ):
            rule = f"left at {present!r}, which is compiled into the training step"
            unchanged = type(value) in _PLAIN and value == present
            require(unchanged, name, value, rule, self.way_out)
        super().__setattr__(name, value)


@cache
def compiled_arguments(kind: type) -> frozenset[str]:
    """The names: those that are listed, or all of a constructor and of its bases'."""
    ours = [vars(base) for base in kind.__mro__ if issubclass(base, CompiledArguments)]
    if getattr(kind, "compiled", None) is not None:
        return frozenset().union(*(own.get("compiled") or () for own in ours))
    # What Keras adds, Keras also sets: `use_ema`, for a while.
    found = {
        name
        for own in ours
        if "__init__" in own
        for name in inspect.signature(own["__init__"]).parameters
    }
    return frozenset(found - _FREE)
