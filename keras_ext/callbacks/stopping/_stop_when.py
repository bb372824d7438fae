"""Combines callbacks that stop the training."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Self

import keras
import numpy as np

from keras_ext._anatomy._linked_method import replace_method
from keras_ext._core._checks import choice, integer, require
from keras_ext._core._typing import Function, Logs, Record
from keras_ext._fit._copyable_callback import CopyableCallback
from keras_ext._fit._memory import memory_of, recall
from keras_ext.callbacks._announcement import announce, verbosity
from keras_ext.callbacks.stopping._stopping_callback import (
    StoppingCallback,
    restore_weights,
)


class StopWhen(CopyableCallback):
    """Stops training when any, all, or most of some callbacks want to stop it.

    The members are callbacks of this library or others, such as
    `keras.callbacks.EarlyStopping`, that set `model.stop_training`. Each runs as if it
    were alone; its vote to stop is noted, and the combination decides. A vote holds,
    also through epochs in which its member has nothing to decide, until the member
    withdraws it. A callback of this library does so when a check speaks for going on;
    one that counts in `wait` up to its `patience`, as those of Keras do, when the
    counter starts over. Other callbacks do not withdraw votes.

    Give the members to `StopWhen` only, not to `fit` as well. Members do not restore
    weights themselves. At the end of training, `StopWhen` restores the weights
    requested by the first member that voted to stop. If none voted, it restores those
    of the first member that requested any, as Keras does when no epochs are left.

    Logs what the members log, and `stop_votes`, how many of them want to stop.

    Args:
        rule: `"any"`, `"all"`, or `"vote"` for more than half of them.
        callbacks: The members, one or more.
        start_from_epoch: Integer >= 0; the epochs before this one, counted from 0 as
            `fit` does, do not stop training; the wishes of the members are noted.
            Defaults to `0`.
        verbose: `1` to print a line when training is stopped, `0` to be silent. The
            members print none. Defaults to `1`.

    Attributes:
        stopped_epoch: The epoch that was the last one, counted from 0; None if training
            was not stopped.
        stopped_by: A sentence that says which members stopped training and why, or
            None.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x, noise = np.random.default_rng(0).normal(size=(2, 320, 1))
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.05), "mse")
        >>> stop = kx.callbacks.StopWhen(
        ...     "all",
        ...     [
        ...         kx.callbacks.EvidenceBasedEarlyStopping(),
        ...         keras.callbacks.EarlyStopping("loss", min_delta=1e-3, patience=2),
        ...     ],
        ... )
        >>> history = model.fit(x, x + noise, epochs=99, callbacks=[stop], verbose=0)
        Epoch ...: early stopping by StopWhen: ...
        >>> len(history.epoch) < 99, history.history["stop_votes"][-1]
        (True, 2)
    """

    remembered: ClassVar[tuple[str, ...]] = (
        "stopped_epoch",
        "stopped_by",
        "_epochs",
        "_votes",
        "_weights",
    )

    def __init__(
        self,
        rule: str,
        callbacks: Sequence[keras.callbacks.Callback],
        *,
        start_from_epoch: int = 0,
        verbose: int = 1,
    ) -> None:
        super().__init__()
        self.rule = choice(rule, "rule", ("any", "all", "vote"))
        require(
            isinstance(callbacks, list | tuple)
            and len(callbacks) > 0
            and all(isinstance(c, keras.callbacks.Callback) for c in callbacks),
            "callbacks",
            callbacks,
            "a list of one callback or more",
        )
        self.callbacks = list(callbacks)
        self.start_from_epoch = integer(start_from_epoch, "start_from_epoch", low=0)
        self.verbose = verbosity(verbose)
        self._begin()

    def _begin(self) -> None:
        self.stopped_epoch: int | None = None
        self.stopped_by: str | None = None
        self._votes = [False] * len(self.callbacks)
        self._weights: list[list[np.ndarray] | None] = [None] * len(self.callbacks)

    def kind_of_state(self) -> list[str]:
        return [type(member).__name__ for member in self.callbacks]

    def get_state(self) -> Record:
        return {
            **super().get_state(),
            "members": [
                m.get_state() if isinstance(m, CopyableCallback) else _memory_of(m)
                for m in self.callbacks
            ],
        }

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        for member, kept in zip(self.callbacks, state["members"], strict=True):
            if isinstance(member, CopyableCallback):
                member.set_state(kept)
            else:
                recall(member, kept)

    def set_params(self, params: Record) -> None:
        super().set_params(params)
        for member in self.callbacks:
            member.set_params(params)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        for member in self.callbacks:
            member.set_model(model)

    def on_train_begin(self, logs: Logs = None) -> None:
        self._begin()
        self._tell("on_train_begin", logs)
        for member in self.callbacks:
            if isinstance(member, keras.callbacks.EarlyStopping):
                member.best = None  # which Keras 3.14 takes over from the last `fit`

    def before_epoch_end(self, epoch: int, logs: Logs) -> None:
        for member in self.callbacks:
            if isinstance(member, CopyableCallback):
                member.before_epoch_end(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._tell("on_epoch_end", epoch, logs)
        for i, member in enumerate(self.callbacks):
            self._votes[i] = self._votes[i] and _still_wants_to_stop(member)
        if logs is not None:
            logs["stop_votes"] = sum(self._votes)
        if self._is_decided() and epoch >= self.start_from_epoch:
            self._stop(epoch)
        else:
            # As a member of another combination it may have wanted to.
            self.stopped_epoch = self.stopped_by = None

    def marks(self) -> dict[str, int]:
        return {} if self.stopped_epoch is None else {"stopped": self.stopped_epoch}

    def limits(self) -> dict[str, float]:
        """Those of the members, whose columns are among its own."""
        members = [m for m in self.callbacks if isinstance(m, CopyableCallback)]
        return {name: v for m in members for name, v in m.limits().items()}

    def _is_decided(self) -> bool:
        votes = sum(self._votes)
        needed = {
            "any": 1,
            "all": len(self._votes),
            "vote": len(self._votes) // 2 + 1,
        }
        return votes >= needed[self.rule]

    def _stop(self, epoch: int) -> None:
        self.model.stop_training = True
        self.stopped_epoch = epoch
        reasons = [
            getattr(member, "stopped_by", None) or type(member).__name__
            for member, votes in zip(self.callbacks, self._votes, strict=True)
            if votes
        ]
        count = f"{len(reasons)} of {len(self._votes)}"
        self.stopped_by = f"{count} wanted to stop: {'; '.join(reasons)}"

    def on_train_end(self, logs: Logs = None) -> None:
        with _silenced(self.callbacks):
            self._tell("on_train_end", logs)
        pairs = list(zip(self._votes, self._weights, strict=True))
        wanted = [w for votes, w in pairs if votes and w is not None]
        others = [w for votes, w in pairs if not votes and w is not None]
        if wanted or others:
            restore_weights(self.model, [*wanted, *others][0])
        if self.stopped_epoch is not None:
            announce(self)
        self._weights = [None] * len(self.callbacks)

    def _tell(self, hook: str, *args: object, **kwargs: object) -> None:
        """Calls a hook of every member, and notes what it wants of the model."""
        restores = hook in ("on_epoch_end", "on_train_end")
        for i, member in enumerate(self.callbacks):
            with _noted_stop(self.model) as stops:
                if restores:
                    with _noted_weights(self.model) as weights:
                        getattr(member, hook)(*args, **kwargs)
                    self._weights[i] = weights[-1] if weights else self._weights[i]
                else:
                    getattr(member, hook)(*args, **kwargs)
            self._votes[i] |= bool(stops)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        # A member that is not of this library may still hold the model of a `fit`. Here
        # it is shared, and not copied.
        if self.model is not None:
            memo[id(self.model)] = self.model
        return super().__deepcopy__(memo)


@contextmanager
def _noted_stop(model: keras.Model) -> Iterator[list[bool]]:
    """Notes whether training is stopped meanwhile, and does not stop it."""
    stops: list[bool] = []
    before = getattr(model, "stop_training", False)
    # What was asked for before is no vote of this member.
    if before:
        model.stop_training = False
    yield stops
    if getattr(model, "stop_training", False):
        stops.append(True)
    if bool(stops) != before:
        model.stop_training = before


@contextmanager
def _silenced(members: Sequence[keras.callbacks.Callback]) -> Iterator[None]:
    """Lets members print nothing: it is for the combination to say who stopped."""
    loud = [
        (member, member.verbose) for member in members if hasattr(member, "verbose")
    ]
    for member, _ in loud:
        member.verbose = 0
    try:
        yield
    finally:
        for member, verbose in loud:
            member.verbose = verbose


@contextmanager
def _noted_weights(model: keras.Model) -> Iterator[list[list[np.ndarray]]]:
    """Notes the weights that are set meanwhile, and does not set them."""
    weights: list[list[np.ndarray]] = []
    # Maybe noted by a `StopWhen` around this one as well.
    undo = replace_method(model, "set_weights", weights.append)
    try:
        yield weights
    finally:
        undo()


def _memory_of(member: keras.callbacks.Callback) -> Record:
    """What a member of Keras remembers; the arguments of `fit` are no part of it."""
    return {k: value for k, value in memory_of(member).items() if k != "params"}


def _still_wants_to_stop(member: keras.callbacks.Callback) -> bool:
    if isinstance(member, StoppingCallback | StopWhen):
        return member.stopped_epoch is not None
    wait, patience = getattr(member, "wait", None), getattr(member, "patience", None)
    return wait is None or patience is None or wait >= patience


def _passed_on(hook: str) -> property:
    default = getattr(keras.callbacks.Callback, hook)

    def found(self: StopWhen) -> Function:
        for member in self.callbacks:
            if getattr(getattr(member, hook), "__func__", None) is not default:
                return functools.partial(self._tell, hook)
        # Keras fetches the metrics after every step for whoever has a hook for it.
        return default.__get__(self)

    return property(found)


# The other hooks are passed on as they are, if a member has them. (`on_batch_begin` and
# `on_batch_end` are what the hooks of training call.)
for _hook in dir(keras.callbacks.Callback):
    if _hook.startswith("on_") and "on_batch_" not in _hook:
        setattr(StopWhen, _hook, vars(StopWhen).get(_hook) or _passed_on(_hook))
