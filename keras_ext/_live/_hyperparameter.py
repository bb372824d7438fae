"""A number of a model that can be made live."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import keras

from keras_ext._anatomy._linked_method import replace_method
from keras_ext._core._paths import joined
from keras_ext._core._typing import Config, Function
from keras_ext._keras._assignments import hear_assignments
from keras_ext._keras._dropout_internals import inner_dropout, is_attention
from keras_ext._live._dropout_kernel import LARGEST_RATE
from keras_ext._live._live_value import LiveFloat, LiveValue, assigned

# Bounds and scale of the kinds of hyperparameters.
Kind: TypeAlias = tuple[tuple[float, float | None], str]
RATE: Kind = ((0.0, LARGEST_RATE), "logit")
FRACTION: Kind = ((0.0, 0.999999), "logit")
STRENGTH: Kind = ((0.0, None), "log")

# Where an object notes which of its methods have a stand-in.
_REPLACED = "_keras_ext_replaced"


@dataclass(frozen=True)
class Hyperparameter:
    """One number of a model that can be made live.

    Attributes:
        path: Its readable path, other than that of any other of the model.
        name: What it is, whatever the user calls things: `"rate"`, `"l2"`.
        owner: The object that has it.
        value: The present value.
        kind: Its bounds and scale.
        places: Functions that put a number where it is read.
        prepare: Makes the owner read a number that changes.
    """

    path: str
    name: str
    owner: object
    value: float
    kind: Kind
    places: tuple[Callable[[float], None], ...]
    prepare: Callable[[], None] = lambda: None

    @property
    def live(self) -> LiveValue | None:
        """The live value in its place, if there is one."""
        return self.value.live if isinstance(self.value, LiveFloat) else None

    def make_live(self, model: keras.Model) -> LiveValue:
        """Puts a live value in the place of the number."""
        if self.live is not None:
            return self.live
        bounds, scale = self.kind
        value = float(self.value)
        if bounds[1] is not None:
            value = min(value, bounds[1])
        live = LiveValue(value, self.name, bounds=bounds, scale=scale)
        with model.distribute_strategy.scope():
            live.build()
            self.prepare()
        _save_plainly(self.owner)
        hear_assignments(assigned)
        for place in self.places:
            live.stand_in(place)
        return live

    def make_plain(self) -> None:
        """Leaves the present value behind as an ordinary number."""
        if self.live is not None:
            self.live.release()
        if not any(isinstance(value, LiveFloat) for value in vars(self.owner).values()):
            _restore(self.owner)


def attribute(
    owner: object,
    name: str,
    path: str,
    kind: Kind,
    prepare: Callable[[], None] = lambda: None,
) -> Hyperparameter:
    """The hyperparameter that an object keeps in one of its attributes."""
    return Hyperparameter(
        joined(path, name),
        name,
        owner,
        getattr(owner, name),
        kind,
        (into(owner, name),),
        prepare,
    )


def into(owner: object, name: str) -> Callable[[object], None]:
    """A function that puts a value into an attribute of an object."""
    # Past Keras's attribute tracking, which a layer that is built has closed.
    return lambda value: object.__setattr__(owner, name, value)


def let_stand_in(owner: object, name: str, method: Function) -> None:
    """Puts a function in the place of a method, until the number is plain again."""
    undo = vars(owner).get(_REPLACED, {})
    # Two numbers of one object may need the same.
    if name not in undo:
        into(owner, _REPLACED)(undo | {name: replace_method(owner, name, method)})


def _restore(owner: object) -> None:
    for undo in vars(owner).pop(_REPLACED, {}).values():
        undo()
    if is_attention(owner):
        _restore(inner_dropout(owner))


def _save_plainly(owner: object) -> None:
    """Keeps live numbers out of the config, and so out of clones."""
    if not hasattr(owner, "get_config") or "get_config" in vars(owner):
        return
    get_config = owner.get_config

    def plain_config() -> Config:
        return keras.tree.map_structure(
            lambda x: float(x) if isinstance(x, LiveFloat) else x, get_config()
        )

    let_stand_in(owner, "get_config", plain_config)
