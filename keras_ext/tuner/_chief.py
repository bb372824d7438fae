"""The process that decides, for workers that train: KerasTuner's, hardened.

A worker makes a connection for each question. The chief greets with a number that is
used once, the worker asks and the chief answers in lines of JSON that are signed, as
those of `kx.distribute` are: who does not know the token is not even parsed.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable

from keras_tuner.engine.hyperparameters import HyperParameters
from keras_tuner.engine.trial import Trial

from keras_ext._core._typing import Record
from keras_ext.distribute import _messages
from keras_ext.tuner._oracle import Oracle

_log = logging.getLogger(__name__)

# How long somebody who has come may take to say what he wants, in seconds.
_HEARING = 5.0
# How many may be about to say it.
_MOST = 256
# What a worker that waits has asked again by then, to be told that all is done.
_LAST_WORD = 1.5
_POLL = 0.05
# A trial with thousands of hyperparameters; and the histories of thousands of trials.
_LONGEST_QUESTION, LONGEST_ANSWER = 2**22, 2**28


class Chief:
    """Answers workers until the search is done.

    - A worker that says nothing for the time of its lease is lost. Its trial goes to
      the next worker that asks, which goes on at the next epoch if it sees the folder
      of the search. What a worker says that was lost is refused.
    - As long as a trial runs, other workers wait: they may have to take it over.
    - A question that is asked twice, because the answer was lost, is answered once.

    Args:
        oracle: The oracle.
        address: Host and port to listen at.
        name: The name of the search; questions about others are turned away.
        lease: For how many seconds a worker may be silent.
    """

    def __init__(
        self, oracle: Oracle, *, address: tuple[str, int], name: str, lease: float
    ) -> None:
        self._oracle, self._name, self._lease = oracle, name, lease
        self._address = address
        self._heard: dict[str, float] = {}
        self._runs: dict[str, str] = {}
        self._retired: set[str] = set()
        self._told: set[str] = set()
        self._answers: dict[str, tuple[int, Record]] = {}
        self._exhausted: tuple[int, ...] | None = None
        self._error = ""
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_MOST)

    def run(self) -> None:
        """Returns when the search is done, and who waits has been told.

        Raises:
            RuntimeError: If the port is in use, or the search has failed.
        """
        with self._listen() as server:
            # Closing a socket does not wake a thread that waits in `accept`.
            server.settimeout(_POLL)
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()
            while not self._is_done():
                self._find_lost()
                time.sleep(_POLL)
            deadline = time.monotonic() + _LAST_WORD
            while self._waiting() and time.monotonic() < deadline:
                time.sleep(_POLL)
        if self._error:
            raise RuntimeError(self._error)

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        try:
            return socket.create_server(self._address, family=family, backlog=_MOST)
        except OSError as error:
            host, port = self._address
            raise RuntimeError(
                f"The chief cannot listen at {host}:{port}: {error.strerror}. "
                "Does another program use the port, or a second chief?"
            ) from error

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            except OSError:
                return  # closed: all is done
            if self._places.acquire(blocking=False):
                thread = threading.Thread(
                    target=self._serve, args=(connection,), daemon=True
                )
                thread.start()
            else:
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._converse(connection)
        finally:
            self._places.release()

    def _converse(self, connection: socket.socket) -> None:
        number, deadline = _messages.nonce(), time.monotonic() + _HEARING
        _messages.send(connection, _messages.greeting(number), deadline)
        line = _messages.read(connection, deadline, longest=_LONGEST_QUESTION)
        said = _messages.opened(line, number)
        if said is None or not _is_question(said):
            return
        answer = _messages.signed(self._answer(said), number + said["nonce"])
        _messages.send(connection, answer, time.monotonic() + _HEARING)

    def _answer(self, said: Record) -> Record:
        if said["search"] != self._name:
            return {"other": self._name}
        worker: str = said["worker"]
        run: str = said["run"]
        with self._lock:
            if run in self._retired:
                return {"lost": "another process has taken the place of this one"}
            before = self._runs.get(worker, run)
            self._runs[worker] = run
            self._heard[worker] = time.monotonic()
            if before != run:
                self._retired.add(before)
            # Whoever has lost an answer asks again, with the same count: it is decided
            # once.
            known, answer = self._answers.get(run, (None, {}))
            if known == said["count"]:
                return answer
        # Without the lock: `release` waits for the oracle, while others may be
        # answered.
        if before != run:
            self._lose(worker)
        answer = self._decided(said)
        if said["question"] != "alive":
            self._answers[run] = said["count"], answer
        return answer

    def _decided(self, said: Record) -> Record:
        try:
            value = getattr(self, f"_on_{said['question']}")(**said["arguments"])
        except _LostError as error:
            return {"lost": str(error)}
        except Exception as error:
            self._error = self._error or f"{type(error).__name__}: {error}"
            return {"error": self._error}
        return {"value": value}

    # What workers ask. The names are those of the methods of an oracle.

    def _on_alive(self) -> None:
        """The worker has nothing to say but that it is there."""

    def _on_get_seed(self) -> int:
        return self._oracle.seed

    def _on_get_space(self) -> Record:
        return dict(self._oracle.get_space().get_config())

    def _on_update_space(self, space: Record) -> None:
        self._oracle.update_space(HyperParameters.from_config(space))

    def _on_create_trial(self, worker: str) -> Record:
        mark = self._oracle.progress_mark()
        # An oracle that has nothing to propose is not asked again until something
        # changes.
        if self._exhausted != mark and not self._error:
            trial = self._oracle.create_trial(worker)
            if trial.status != "STOPPED":
                return {"trial": trial.get_state(), "lease": self._lease}
            self._exhausted = mark
        # Whoever runs a trial may be lost, and what it finds may widen the space.
        is_over = self._oracle.is_idle() and mark == self._oracle.progress_mark()
        if not (is_over or self._error):
            return {"trial": _answer_of("IDLE"), "lease": self._lease}
        self._told.add(worker)
        return {"trial": _answer_of("STOPPED"), "lease": self._lease}

    def _on_update_trial(
        self, worker: str, trial_id: str, metrics: dict[str, float], step: int
    ) -> str:
        self._require_own(worker, trial_id)
        return str(self._oracle.update_trial(trial_id, metrics, step=step).status)

    def _on_rewind(self, worker: str, trial_id: str, step: int) -> None:
        self._require_own(worker, trial_id)
        self._oracle.rewind(trial_id, step)

    def _on_conclude(
        self, worker: str, trial_id: str, metrics: dict[str, float], step: int
    ) -> None:
        self._require_own(worker, trial_id)
        self._oracle.conclude(trial_id, metrics, step)

    def _on_judge_fold(
        self, worker: str, trial_id: str, value: float, fold: int, count: int
    ) -> bool:
        self._require_own(worker, trial_id)
        return bool(self._oracle.judge_fold(trial_id, value, fold, count))

    def _on_end_trial(self, worker: str, trial_id: str, trial: Record) -> None:
        self._require_own(worker, trial_id)
        self._oracle.end_trial(Trial.from_state(trial))

    def _on_get_trial(self, trial_id: str) -> Record:
        return dict(self._oracle.get_trial(trial_id).get_state())

    def _on_get_best_trials(self, num_trials: int) -> list[Record]:
        return [trial.get_state() for trial in self._oracle.get_best_trials(num_trials)]

    def _require_own(self, worker: str, trial_id: str) -> None:
        if not self._oracle.belongs(trial_id, worker):
            raise _LostError(f"trial {trial_id} was given to another worker")

    def _find_lost(self) -> None:
        """Takes the trials of workers that were silent for too long."""
        now = time.monotonic()
        # Of a chief that was started again, nobody has been heard.
        for worker in list(self._oracle.ongoing_trials):
            with self._lock:
                is_lost = now - self._heard.setdefault(worker, now) > self._lease
            if is_lost:
                self._lose(worker)

    def _lose(self, worker: str) -> None:
        try:
            trial = self._oracle.release(worker)
        except RuntimeError as error:  # too many have failed
            self._error, trial = self._error or str(error), None
        _log.warning("worker %s is lost, its trial %s is free", worker, trial)

    def _is_done(self) -> bool:
        return bool(self._error or self._told)

    def _waiting(self) -> bool:
        """Whether a worker that lives was not told that all is done."""
        now = time.monotonic()
        with self._lock:
            alive = {w for w, at in self._heard.items() if now - at < self._lease}
        return bool(alive - self._told)


class _LostError(Exception):
    """A worker speaks of a trial that is not its own."""


def _answer_of(status: str) -> Record:
    return dict(Trial(HyperParameters(), trial_id="", status=status).get_state())


_KINDS: dict[str, Callable[[object], bool]] = {
    "worker": lambda value: isinstance(value, str),
    "run": lambda value: isinstance(value, str),
    "search": lambda value: isinstance(value, str),
    "nonce": lambda value: isinstance(value, str),
    "count": lambda value: isinstance(value, int),
    "arguments": lambda value: isinstance(value, dict),
    "question": lambda value: hasattr(Chief, f"_on_{value}"),
}


def _is_question(said: Record) -> bool:
    return set(said) == set(_KINDS) and all(
        is_valid(said[name]) for name, is_valid in _KINDS.items()
    )
