"""Optimizers that train other weights than those that a model is to be judged by."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import ClassVar

import keras
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._moving_norms import moving_norms
from keras_ext._core._checks import require
from keras_ext._core._typing import Optimizer, Record, Strategy, Variable
from keras_ext._engine._update_wrapper import UpdateWrapper
from keras_ext._keras import _replica
from keras_ext._keras._model_looks import surround_looks
from keras_ext._keras._optimizer_family import optimizer_family
from keras_ext._keras._optimizer_slots import strategy_of
from keras_ext._keras._replica import PerReplica


class ShownWeights(UpdateWrapper):
    """The base of wrappers that train other weights than those that they are for.

    While a model trains, its variables hold the weights that the gradient is taken at.
    Whoever looks at the model meanwhile (`evaluate`, also the validation of `fit`,
    `predict`, `save`, `get_weights` and so on) sees the shown ones: this changes them
    before, and back after. After `fit` the variables hold the shown ones for good, and
    the next `fit` goes on where this one was. A file of the model has both.

    A subclass overrides `to_shown` and `to_trained`, called on every replica, and
    `restart`.

    Args:
        optimizer: The optimizer to wrap.
        name: Name of the optimizer. None means the name of the class.

    Raises:
        ValueError: If `optimizer` is no optimizer, or one that does not fit.
    """

    sets_weights: ClassVar[bool] = True
    # Whether it moves weights otherwise than by another gradient.
    changes_moves: ClassVar[bool] = True

    def __init__(self, optimizer: Optimizer, *, name: str | None = None) -> None:
        super().__init__(optimizer, name=name)
        # What is shown of a mixture would be wrong by what only one of its parts moves.
        mixed = [type(m).__name__ for m in mixtures_within(self.optimizer)]
        require(
            not (mixed and self.changes_moves),
            "optimizer",
            mixed,
            f"one that trains no mixture of weights, for {type(self).__name__}",
            hint="One average is enough.",
        )
        surround_looks(_surrounding)

    # What subclasses override.

    # Whether `to_trained` gives every bit back.
    turns_exactly: ClassVar[bool] = True

    def to_shown(self) -> None:
        """Gives the weights the values that are shown, on a replica."""
        raise NotImplementedError

    def to_trained(self) -> None:
        """Takes `to_shown` back, on a replica."""
        raise NotImplementedError

    def restart(self) -> None:
        """Begins anew at the weights, which were set from outside, on a replica."""
        raise NotImplementedError

    # What the variables of the model hold now.

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        shows = _replica.counter("shows")
        super().build(variables)
        state = self._state
        state.owned.insert(0, shows)
        state.shows = shows
        self._checkpointed = {str(i): v for i, v in enumerate(state.owned)}

    @property
    def shows(self) -> bool:
        """Whether the model has the weights that it is to be judged by."""
        if not self.built:
            return True
        return bool(ops.convert_to_numpy(self._state.shows))

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Gives the model the weights that it is to be judged by, for a block.

        For loops of your own: the methods of a model do it by themselves.
        """
        if self.shows:
            yield
            return
        if self.turns_exactly:
            trained = []
        else:
            trained = [(v, tf.identity(_replica.native(v))) for v in self.weights]
        self.show(True)
        try:
            yield
        finally:
            # To the last bit, so that no evaluation changes a training.
            for variable, value in trained:
                variable.assign(value)
            if trained:
                self._state.shows.assign(0)
            self.show(False)

    def show(self, shown: bool) -> None:
        """Gives the model its shown weights, or those that are trained."""
        if self.built and shown != self.shows:
            self._run(shown)

    def _run(self, shown: bool) -> None:
        strategy, functions = strategy_of(self), self._state.functions
        turn = partial(self._turn, shown=shown)
        if strategy.num_replicas_in_sync == 1:
            strategy.run(lambda: _replica.merge(turn))
            return
        if shown not in functions:
            functions[shown] = tf.function(
                lambda: strategy.run(lambda: _replica.merge(turn)), autograph=False
            )
        functions[shown]()

    def _turn(self, strategy: Strategy, shown: bool) -> None:
        _replica.each_replica(strategy, self.to_shown if shown else self.to_trained)
        self._state.shows.assign(int(shown))

    def _restart_all(self) -> None:
        """After the shown weights were set from outside."""
        if self.built:
            strategy = strategy_of(self)
            tf.function(lambda: strategy.run(self.restart), autograph=False)()

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        # `fit` calls it before the `on_train_end` of callbacks, which may look at
        # weights, or restore those that they have got when they looked.
        super().finalize_variable_values(var_list)
        self.show(True)

    def _make(
        self,
        strategy: Strategy,
        gradients: Sequence[PerReplica],
        direct: Sequence[PerReplica],
    ) -> None:
        # In a loop of somebody who has loaded a model, or looked at it.
        tf.cond(
            self._state.shows.value > 0,
            lambda: self._turn(strategy, False),
            lambda: None,
        )
        super()._make(strategy, gradients, direct)


def mixtures_within(optimizer: Optimizer) -> list[ShownWeights]:
    """Those of a family that train a mixture of weights and others that they keep."""
    family = optimizer_family(optimizer)
    kind = ShownWeights
    return [m for m in family if isinstance(m, kind) and not m.turns_exactly]


@contextmanager
def _surrounding(model: keras.Model, kind: str, arguments: Record) -> Iterator[None]:
    """What is around a method of a model that does something with its weights."""
    optimizer = getattr(model, "optimizer", None)
    family = optimizer_family(optimizer) if optimizer is not None else []
    # From the outside in, so that what shows something last is the outermost.
    found = [m for m in reversed(family) if isinstance(m, ShownWeights)]
    with ExitStack() as stack:
        for member in found:
            stack.enter_context(_AROUND[kind](member))
        if found and kind == "train" and "callbacks" in arguments:
            _tell_of_statistics(model, arguments["callbacks"], found)
        yield


@contextmanager
def _training(optimizer: ShownWeights) -> Iterator[None]:
    optimizer.show(False)
    try:
        yield
    finally:
        optimizer.show(True)


@contextmanager
def _looking(optimizer: ShownWeights) -> Iterator[None]:
    with optimizer.evaluation_weights():
        yield


@contextmanager
def _setting(optimizer: ShownWeights) -> Iterator[None]:
    with _loading(optimizer):
        yield
        optimizer._restart_all()


@contextmanager
def _loading(optimizer: ShownWeights) -> Iterator[None]:
    # The file tells by itself which weights it has.
    before = optimizer.shows
    optimizer.show(True)
    try:
        yield
    finally:
        optimizer.show(before)


_AROUND: dict[str, Callable[[ShownWeights], AbstractContextManager[None]]] = {
    "train": _training,
    "look": _looking,
    "set": _setting,
    "load": _loading,
}


def _tell_of_statistics(
    model: keras.Model,
    callbacks: keras.callbacks.Callback | Sequence[keras.callbacks.Callback] | None,
    found: Sequence[ShownWeights],
) -> None:
    """Warns that batch normalization has statistics of other weights."""
    held = getattr(callbacks, "callbacks", callbacks)
    held = held if isinstance(held, list | tuple) else [held]
    if any(getattr(c, "recalibrates", False) for c in held):
        return
    norms = [layer.name for layer in moving_norms(model)]
    if norms:
        warnings.warn(
            f"{type(found[0]).__name__} trains other weights than those that the model "
            f"is evaluated with, and the statistics of {norms[:3]} are of those that "
            "are trained. Give fit the callback "
            "keras_ext.callbacks.RecalibrateBatchNorm, with every_epochs=1 if it "
            "validates.",
            stacklevel=4,
        )
