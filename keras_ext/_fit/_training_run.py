"""What callbacks of this library do together in one training, and remember of it."""

import functools
import warnings
import weakref
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager

import keras
import numpy as np

from keras_ext._anatomy._linked_method import Method, link_method
from keras_ext._core._checks import cut, require
from keras_ext._core._lines import say
from keras_ext._core._typing import Data, Logs, Record
from keras_ext._fit._columns import Columns, Written
from keras_ext._fit._copyable_callback import CopyableCallback
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._memory import numbered
from keras_ext._fit._packed import packed, unpacked
from keras_ext._keras._model_runs import is_running
from keras_ext._keras._tracked_along import track_along
from keras_ext._live._find_hyperparameters import find_hyperparameters
from keras_ext._live._live_value import LiveValue

# On a model: the training that goes on, and what it is to go on with.
_RUN, _MEMORY = "_keras_ext_run", "_keras_ext_memory"


class TrainingRun:
    """One training of a model, from the list of callbacks to its end.

    Whatever is saved of the model meanwhile has with it what these callbacks remember,
    and the number of the epoch to go on with. Whoever saves at the end of an epoch
    finds all of them done with it: those that come later in the list are called before.

    A training goes on with what was read from a file if that was read in its beginning,
    as `BackupAndRestore` does, or in a `tf.train.Checkpoint`, or if it begins with the
    epoch that the file is to go on with.

    Args:
        model: The model.
        callbacks: Those of this library, in the order of the list.
        owner: The list.
    """

    def __init__(
        self,
        model: keras.Model,
        callbacks: Sequence[CopyableCallback],
        owner: keras.callbacks.CallbackList,
    ) -> None:
        _require_each_once(callbacks)
        # Weakly, so that who saves what is on the model does not come back to it.
        self._model: weakref.ref[keras.Model] = weakref.ref(model)
        self.callbacks = list(callbacks)
        self.owner = owner
        self.epoch = 0
        self._has_begun = False
        # A loop without `fit` may call `evaluate`: that is not its end.
        self.in_fit = is_running(model)
        # While an epoch ends: its logs, and what lets each of them end it.
        self._logs: Logs = None
        self._ends: list[Callable[[int, Logs], None]] = []
        self._columns = Columns(self.callbacks)
        # Lines that wait for the end of the epoch; None between the ends.
        self._lines: list[str] | None = None
        self._undo = ExitStack()

    @classmethod
    def present(cls, model: keras.Model) -> "TrainingRun | None":
        """The run that a model is in, if any."""
        return vars(model).get(_RUN)

    @classmethod
    def of_list(cls, owner: keras.callbacks.CallbackList) -> "TrainingRun | None":
        """The run that a list of callbacks leads."""
        model = getattr(owner, "model", None)
        run = cls.present(model) if model is not None else None
        return run if run is not None and run.owner is owner else None

    def open(self) -> None:
        """Puts it on the model."""
        left_behind = self.present(self._model())
        if left_behind is not None:
            left_behind.close()
        model = self._model()
        # Past Keras's attribute tracking.
        object.__setattr__(model, _RUN, self)
        self._columns.begin()
        self._undo.callback(link_method(model, "save_own_variables", self._ending))
        self._undo.callback(track_along(model, self.write, self.read))

    def on_close(self, function: Callable[[], object]) -> None:
        """Calls a function when all callbacks are done, or training has failed."""
        self._undo.callback(function)

    def close(self) -> None:
        """Takes it off again."""
        model = self._model()
        self._undo.close()
        if self.present(model) is self:
            object.__delattr__(model, _RUN)

    # Saving.

    def _ending(self, save_own_variables: Method) -> Method:
        # The first thing that Keras does with a model that it saves.
        def save(store: MutableMapping[str, np.ndarray]) -> None:
            self._end_epoch()
            save_own_variables(store)

        return save

    def write(self) -> bytes:
        """What is saved with the model: before it begins, what it will go on with."""
        if not self._has_begun:
            return vars(self._model()).get(_MEMORY, (b"", False))[0]
        self._end_epoch()
        return packed(self.memory())

    def memory(self) -> Record:
        """What has to be known to go on."""
        model = self._model()
        shared = {} if (scope := FitScope.present(model)) is None else scope.shared
        return {
            "epoch": self.epoch,
            "live": [[kind, float(live)] for kind, live in _live_values(model)],
            "shared": {name: part.get_state() for name, part in shared.items()},
            "callbacks": {name: c.get_state() for name, c in self._named()},
            "kinds": {
                **{name: type(part).__name__ for name, part in shared.items()},
                **{name: c.kind_of_state() for name, c in self._named()},
            },
            "logged": {name: dict(c.logged) for name, c in self._named()},
        }

    def _named(self) -> Iterator[tuple[str, CopyableCallback]]:
        """The callbacks by names that do not depend on who else is in the list."""
        return numbered(self.callbacks)

    # Going on.

    def read(self, content: bytes) -> None:
        """Takes in what was in a checkpoint of TensorFlow."""
        if not self._has_begun:
            keep_memory(self._model(), content, goes_on=True)

    def begin_epoch(self, epoch: int) -> None:
        """Is called when an epoch begins, before the callbacks are."""
        self.epoch = epoch
        if not self._has_begun:
            self._has_begun = True
            memory = taken_memory(self._model(), epoch)
            if memory is not None:
                self._go_on(memory)

    def _go_on(self, memory: Record) -> None:
        model = self._model()
        live_values = list(_live_values(model))
        # In their order: another model may have other names for its layers.
        if [kind for kind, _ in live_values] == [kind for kind, _ in memory["live"]]:
            for (_, live), (_, value) in zip(live_values, memory["live"], strict=True):
                live.assign(value)
        kinds = memory.get("kinds", {})
        scope = FitScope.present(model)
        for name, part in scope.shared.items() if scope is not None else ():
            kind = type(part).__name__
            if name in memory["shared"] and kinds.get(name, kind) == kind:
                part.set_state(memory["shared"][name])
        for name, callback in self._named():
            kind = callback.kind_of_state()
            if name in memory["callbacks"] and _fits(name, kinds.get(name, kind), kind):
                callback.set_state(memory["callbacks"][name])
                callback.logged = memory.get("logged", {}).get(name, {})

    # Ending an epoch.

    @contextmanager
    def ending(self, epoch: int) -> Iterator[None]:
        """The time in which the callbacks are told that an epoch has ended."""
        self.epoch = epoch + 1
        with ExitStack() as stack:
            self._lines = []
            stack.callback(self._say_lines)
            stack.callback(self._ends.clear)
            for callback in self.callbacks:
                once = functools.partial(self._once, callback)
                stack.callback(link_method(callback, "on_epoch_end", once))
                self._ends.append(callback.on_epoch_end)
            # The list makes a dictionary of its own, which all of them write to.
            first = self.owner.callbacks[0]
            stack.callback(
                link_method(first, "on_epoch_end", self._noting, outermost=True)
            )
            for bar in self.owner.callbacks:
                if isinstance(bar, keras.callbacks.ProgbarLogger):
                    stack.callback(link_method(bar, "on_epoch_end", self._showing))
            yield

    def _once(self, callback: CopyableCallback, on_epoch_end: Method) -> Method:
        """Ends an epoch early, or when the turn comes, and not again."""
        done = False

        def end_once(epoch: int, logs: Logs = None) -> None:
            nonlocal done
            if not done:
                done = True
                if logs is None:
                    on_epoch_end(epoch, None)
                    return
                written = Written(logs)
                on_epoch_end(epoch, written)
                self._columns.add(callback, epoch, written)

        return end_once

    def _showing(self, on_epoch_end: Method) -> Method:
        def show(epoch: int, logs: Logs = None) -> None:
            on_epoch_end(epoch, self._columns.for_the_eye(logs))

        return show

    def say(self, line: str) -> None:
        """Prints a line; while an epoch ends, below the last of the progress bar."""
        if self._lines is None:
            say(line)
        else:
            self._lines.append(line)

    def _say_lines(self) -> None:
        lines, self._lines = self._lines or [], None
        for line in lines:
            say(line)

    def _noting(self, on_epoch_end: Method) -> Method:
        def note(epoch: int, logs: Logs = None) -> None:
            self._logs = logs
            for callback in self.callbacks:
                callback.before_epoch_end(epoch, logs)
            on_epoch_end(epoch, logs)

        return note

    def _end_epoch(self) -> None:
        """Lets all end the epoch that have not done so, if one ends."""
        for end in list(self._ends):
            end(self.epoch - 1, self._logs)


def _require_each_once(callbacks: Sequence[CopyableCallback]) -> None:
    for i, callback in enumerate(callbacks):
        again = any(callback is other for other in callbacks[:i])
        name = type(callback).__name__
        require(not again, "callbacks", f"{name} twice", "once in the list, each")


def _fits(name: str, saved: Data, kind: Data) -> bool:
    """Whether a callback can go on with what was saved; says so if not."""
    if saved == kind:
        return True
    warnings.warn(
        f"{name.rpartition('_')[0]} begins anew: what was saved for it is of "
        f"{cut(str(saved), 150)}, and here is {cut(str(kind), 150)}. Give it the "
        "arguments of the training that goes on.",
        stacklevel=2,
    )
    return False


def _live_values(model: keras.Model) -> Iterator[tuple[str, LiveValue]]:
    for found in find_hyperparameters(model):
        if found.live is not None:
            yield found.live.name, found.live


def keep_memory(model: keras.Model, content: bytes, goes_on: bool) -> None:
    """Keeps what was read for the next training.

    Args:
        model: The model.
        content: What was read.
        goes_on: Whether the next training goes on with it in any case, and not only if
            it begins with the epoch that it is for.
    """
    object.__setattr__(model, _MEMORY, (content, goes_on))


def taken_memory(model: keras.Model, epoch: int) -> Record | None:
    """What the training that begins now goes on with."""
    if _MEMORY not in vars(model):
        return None
    content, goes_on = vars(model)[_MEMORY]
    object.__delattr__(model, _MEMORY)
    memory: Record = unpacked(content)
    if goes_on or 0 < epoch == memory["epoch"]:
        return memory
    if epoch > 0:
        warnings.warn(
            f"The callbacks begin anew: the model was saved to go on with epoch "
            f"{memory['epoch']}, and `fit` begins with epoch {epoch}. Pass "
            f"initial_epoch={memory['epoch']} to let them go on too.",
            stacklevel=2,
        )
    return None


def close_run(model: keras.Model) -> None:
    """Closes the run that a model is in, if any."""
    run = TrainingRun.present(model)
    if run is not None:
        run.close()
