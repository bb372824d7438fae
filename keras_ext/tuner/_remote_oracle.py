"""The oracle of a worker: it asks the chief."""

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from keras_tuner.engine.hyperparameters import HyperParameters
from keras_tuner.engine.trial import Trial

from keras_ext._core._typing import Record
from keras_ext.distribute import _messages
from keras_ext.tuner._chief import LONGEST_ANSWER
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._roles import FRESH, NEXT_PROCESS

# How long to look for the chief, in seconds; it may be started again meanwhile.
PATIENCE = 600.0
# How long an answer may take: some oracles think for seconds.
_ANSWER = 300.0
_HEARING = 5.0
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 0.5
_ALIVE = 3  # times in the time of a lease
_FROM_LOCAL = (
    "objective",
    "max_trials",
    "allow_new_entries",
    "tune_new_entries",
)


class LostError(Exception):
    """The chief has given the trial to another worker."""


class RemoteOracle:
    """Stands for the oracle of the chief, in a worker.

    Between its questions it says that it is alive. When the search has ended, what is
    asked is read from the files of the search, if they can be seen here.

    Args:
        oracle: The oracle as it is made here, which knows the objective.
        address: Where the chief listens.
        worker: The name of this worker.
        search: The name of the search.
        patience: How long to look for the chief, in seconds.
    """

    def __init__(
        self,
        oracle: Oracle,
        *,
        address: tuple[str, int],
        worker: str,
        search: str,
        patience: float = PATIENCE,
    ) -> None:
        self._local, self._address, self._worker = oracle, address, worker
        self._search, self._patience = search, patience
        self._run = secrets.token_hex(8)
        self._count = 0
        self._has_ended = self._has_run = False
        self._seed: int | None = None
        self._lease = 0.0
        self._resting = threading.Event()
        self._heart: threading.Thread | None = None
        # Trials that have been given to others.
        self.lost: set[str] = set()
        # Of several processes that train one trial, the first one speaks.
        self.multi_worker = False
        self.should_report = True

    def __getattr__(self, name: str) -> Any:
        if name in _FROM_LOCAL:
            return getattr(self._local, name)
        raise AttributeError(
            f"A worker has no `{name}`: ask the chief, or the search when it is opened "
            "again."
        )

    @property
    def seed(self) -> int:
        """That of the chief, by which all workers split data into the same folds."""
        if self._seed is None:
            self._seed = int(self._ask("get_seed"))
        return self._seed

    def get_space(self) -> HyperParameters:
        if self._has_ended:
            return self._from_files().get_space()
        return HyperParameters.from_config(self._ask("get_space"))

    def update_space(self, hyperparameters: HyperParameters) -> None:
        if self.should_report:
            self._ask("update_space", space=hyperparameters.get_config())

    def create_trial(self, tuner_id: str) -> Trial:
        """A trial to run. As long as there may still be one, it waits.

        Raises:
            SystemExit: If each trial has a process of its own, and this one has had it.
        """
        if self._has_run and os.environ.get(FRESH):
            raise SystemExit(NEXT_PROCESS)
        wait = _FIRST_WAIT
        while True:
            answer = self._ask("create_trial", worker=tuner_id)
            trial = Trial.from_state(answer["trial"])
            if trial.status != "IDLE":
                break
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        self._lease = answer["lease"]
        self._has_ended = trial.status == "STOPPED"
        self._has_run = True
        self._beat()
        return trial

    def update_trial(
        self, trial_id: str, metrics: Mapping[str, float], step: int = 0
    ) -> Trial:
        # JSON knows no numbers of NumPy.
        numbers = {name: float(value) for name, value in metrics.items()}
        status = self._tell("update_trial", trial_id, metrics=numbers, step=int(step))
        trial = Trial(HyperParameters(), trial_id=trial_id)
        trial.status = status or trial.status
        return trial

    def rewind(self, trial_id: str, step: int) -> None:
        self._tell("rewind", trial_id, step=int(step))

    def conclude(self, trial_id: str, metrics: Mapping[str, float], step: int) -> None:
        numbers = {name: float(value) for name, value in metrics.items()}
        self._tell("conclude", trial_id, metrics=numbers, step=int(step))

    def judge_fold(self, trial_id: str, value: float, fold: int, count: int) -> bool:
        arguments = {"value": float(value), "fold": fold, "count": count}
        return bool(self._tell("judge_fold", trial_id, **arguments))

    def _tell(self, question: str, trial_id: str, **arguments: object) -> Any:
        if not self.should_report:
            return None
        arguments = {"worker": self._worker, "trial_id": trial_id, **arguments}
        try:
            return self._ask(question, **arguments)
        except LostError:
            self.lost.add(trial_id)
            raise

    def end_trial(self, trial: Trial) -> None:
        with contextlib.suppress(LostError):  # another one ends it
            self._tell("end_trial", trial.trial_id, trial=trial.get_state())

    def get_trial(self, trial_id: str) -> Trial:
        if self._has_ended:
            return self._from_files().get_trial(trial_id)
        return Trial.from_state(self._ask("get_trial", trial_id=trial_id))

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        if self._has_ended:
            return list(self._from_files().get_best_trials(num_trials))
        states = self._ask("get_best_trials", num_trials=int(num_trials))
        return [Trial.from_state(state) for state in states]

    def save(self) -> None:
        """Nothing: the chief does."""

    def _from_files(self) -> Oracle:
        self._local.reload()
        return self._local

    def _beat(self) -> None:
        """Begins to say that this worker is alive, or ceases."""
        if self._has_ended:
            self._resting.set()
        elif self._heart is None:
            self._heart = threading.Thread(target=self._say_alive, daemon=True)
            self._heart.start()

    def _say_alive(self) -> None:
        while not self._resting.wait(self._lease / _ALIVE):
            # Without a count of its own: the chief keeps no answer to this one.
            line = self._question("alive", -1, {})
            self._exchange(line, min(self._lease, _ANSWER))

    def _ask(self, question: str, **arguments: object) -> Any:
        self._count += 1
        # With one count in all attempts, by which the chief knows that it is the same.
        line = self._question(question, self._count, arguments)
        deadline, wait = time.monotonic() + self._patience, _FIRST_WAIT
        while True:
            answer = self._exchange(line, _ANSWER)
            if answer is not None and "other" not in answer:
                return _value(answer)
            if time.monotonic() + wait > deadline:
                raise RuntimeError(self._unheard(answer))
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _question(self, question: str, count: int, arguments: Record) -> Record:
        return {
            "question": question,
            "arguments": arguments,
            "count": count,
            "worker": self._worker,
            "run": self._run,
            "search": self._search,
        }

    def _exchange(self, said: Record, patience: float) -> Record | None:
        """What the chief answers; None if it does not."""
        try:
            connection = socket.create_connection(self._address, _HEARING)
        except OSError:
            return None
        with connection:
            soon = time.monotonic() + _HEARING
            number = _messages.greeted(_messages.read(connection, soon))
            if number is None:
                return None
            return _messages.answer_to(
                said,
                number,
                connection,
                sent_by=soon,
                answered_by=time.monotonic() + patience,
                longest=LONGEST_ANSWER,
            )

    def _unheard(self, answer: Record | None) -> str:
        host, port = self._address
        where = f"The chief ({host}:{port})"
        within = f"within {self._patience:g} seconds"
        if answer is not None:
            other = answer["other"]
            return (
                f"{where} runs another search, `{other}`, and did not end it {within}."
            )
        return (
            f"{where} did not answer {within}. Does it run, and have all processes the "
            f"same {_messages.TOKEN}?"
        )


def _value(answer: Record) -> Any:
    if "lost" in answer:
        raise LostError(answer["lost"])
    if "error" in answer:
        raise RuntimeError(f"The search has ended: {answer['error']}")
    return answer["value"]
