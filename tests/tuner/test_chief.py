"""A chief and its workers as threads of one process, with short leases."""

import contextlib
import os
import socket
import threading
import time

import keras_tuner
import pytest

import keras_ext as kx
from keras_ext.distribute import _messages
from keras_ext.distribute.launch import free_ports
from keras_ext.tuner._chief import Chief
from keras_ext.tuner._objectives import Objective
from keras_ext.tuner._remote_oracle import LostError, RemoteOracle

PATIENCE = 8


class Search:
    """A chief in a thread, and workers of it."""

    def __init__(self, oracle, *, lease=PATIENCE, port=None):
        self.oracle, self.failure = oracle, None
        self.address = "127.0.0.1", port or free_ports(1)[0]
        oracle._set_project_dir(os.getcwd(), "project")
        self.chief = Chief(oracle, address=self.address, name="project", lease=lease)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self.chief.run()
        except RuntimeError as error:
            self.failure = error

    def worker(self, name, patience=PATIENCE, search="project"):
        local = kx.tuner.Oracle("loss")
        local._set_project_dir(os.getcwd(), search)
        return RemoteOracle(
            local,
            address=self.address,
            worker=name,
            search=search,
            patience=patience,
        )

    def ended(self):
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        return time.monotonic()


def an_oracle(max_trials=4, **arguments):
    space = keras_tuner.HyperParameters()
    space.Float("x", 0.0, 1.0)
    return kx.tuner.OptunaOracle(
        "loss", max_trials, hyperparameters=space, seed=0, **arguments
    )


def run(worker, name, trial):
    """Runs a trial of two epochs."""
    for epoch in range(2):
        loss = trial.hyperparameters.get("x") - 0.1 * epoch
        worker.update_trial(trial.trial_id, {"loss": loss}, step=epoch)
    trial.status = "COMPLETED"
    worker.end_trial(trial)


def run_all(worker, name):
    while (trial := worker.create_trial(name)).status == "RUNNING":
        run(worker, name, trial)


def test_workers_share_the_trials_and_the_chief_ends_with_the_last(tmp_path):
    search = Search(an_oracle(8))
    workers = {name: search.worker(name) for name in "ab"}
    threads = [
        threading.Thread(target=run_all, args=(worker, name))
        for name, worker in workers.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    last = time.monotonic()
    assert search.ended() - last < 2
    trials = search.oracle.trials
    assert [t.status for t in trials.values()] == ["COMPLETED"] * 8
    for trial in trials.values():
        assert trial.score == pytest.approx(trial.hyperparameters.get("x") - 0.1)
        assert trial.best_step == 1
    # What a worker asks when the chief has gone is read from the files.
    (best,) = workers["a"].get_best_trials()
    assert best.score == min(trial.score for trial in trials.values())


def test_workers_have_the_seed_of_the_chief():
    """By which they split data into the same folds."""
    search = Search(an_oracle(1))
    search.oracle.seed = 2**31 + 5
    worker = search.worker("a")
    assert worker.seed == 2**31 + 5
    run_all(worker, "a")
    search.ended()


def test_a_worker_that_is_silent_loses_its_trial_to_one_that_waits():
    search = Search(an_oracle(1), lease=0.3)
    silent, other = search.worker("silent"), search.worker("other")
    silent._beat = lambda: None
    lost = silent.create_trial("silent")
    silent.update_trial(lost.trial_id, {"loss": 5.0}, step=0)
    began = time.monotonic()
    taken = other.create_trial("other")
    assert time.monotonic() - began < PATIENCE
    assert taken.trial_id == lost.trial_id
    with pytest.raises(LostError, match="was given to another worker"):
        silent.update_trial(lost.trial_id, {"loss": -5.0}, step=1)
    lost.status = "COMPLETED"
    silent.end_trial(lost)
    assert silent.lost == {lost.trial_id}
    other.rewind(taken.trial_id, 0)
    run(other, "other", taken)
    assert other.create_trial("other").status == "STOPPED"
    search.ended()
    (trial,) = search.oracle.trials.values()
    assert trial.score == pytest.approx(trial.hyperparameters.get("x") - 0.1)


def test_who_says_that_he_is_alive_keeps_a_trial_beyond_the_lease():
    search = Search(an_oracle(1), lease=0.3)
    worker = search.worker("slow")
    trial = worker.create_trial("slow")
    time.sleep(0.9)
    run(worker, "slow", trial)
    assert worker.create_trial("slow").status == "STOPPED"
    search.ended()


def test_a_worker_that_was_started_again_takes_the_place_of_the_first():
    search = Search(an_oracle(1))
    first, second = search.worker("a"), search.worker("a")
    trial = first.create_trial("a")
    again = second.create_trial("a")
    assert again.trial_id == trial.trial_id
    with pytest.raises(LostError, match="has taken the place"):
        first.update_trial(trial.trial_id, {"loss": 1.0}, step=0)
    run_all(second, "a")
    search.ended()


def test_a_trial_that_ends_worker_after_worker_fails():
    search = Search(an_oracle(2))
    for attempt in range(3):
        assert search.worker("a").create_trial("a").trial_id == "0", attempt
    run_all(search.worker("a"), "a")
    search.ended()
    first, second = (search.oracle.trials[i] for i in "01")
    assert first.status == "FAILED"
    assert first.message == "3 workers ended with this trial, as when memory is short."
    assert second.status == "COMPLETED"


def test_a_chief_that_was_started_again_knows_who_trains():
    search = Search(an_oracle(1))
    worker = search.worker("a")
    trial = worker.create_trial("a")
    worker.update_trial(trial.trial_id, {"loss": 1.0}, step=0)
    oracle = an_oracle(1)
    oracle._set_project_dir(os.getcwd(), "project")
    oracle.reload()
    # As if the first chief had gone: the worker now asks this one.
    second = Search(oracle)
    worker._address = second.address
    worker.update_trial(trial.trial_id, {"loss": 0.5}, step=1)
    trial.status = "COMPLETED"
    worker.end_trial(trial)
    assert worker.create_trial("a").status == "STOPPED"
    second.ended()
    assert oracle.trials[trial.trial_id].score == 0.5


def test_a_process_may_leave_the_next_trial_to_another(monkeypatch):
    monkeypatch.setenv("KERAS_EXT_FRESH", "1")
    search = Search(an_oracle(2))
    for _ in range(2):
        worker = search.worker("a")
        run(worker, "a", worker.create_trial("a"))
        with pytest.raises(SystemExit) as ended:
            worker.create_trial("a")
        assert ended.value.code == 75
    assert search.worker("a").create_trial("a").status == "STOPPED"
    search.ended()
    assert [t.status for t in search.oracle.trials.values()] == ["COMPLETED"] * 2


def test_a_question_that_comes_twice_is_answered_once():
    search = Search(an_oracle(1))
    worker = search.worker("a")
    trial = worker.create_trial("a")
    arguments = {"worker": "a", "trial_id": trial.trial_id, "metrics": {"loss": 1.0}}
    said = worker._question("update_trial", 77, {**arguments, "step": 0})
    answers = [worker._exchange(said, PATIENCE) for _ in range(2)]
    assert answers == [{"value": "RUNNING"}] * 2
    (seen,) = search.oracle.trials[trial.trial_id].metrics.get_history("loss")
    assert seen.value == [1.0]


def broken(trial):
    trial.status, trial.message = "INVALID", "broken"
    return trial


def test_what_stops_a_search_is_said_to_all():
    search = Search(an_oracle(9))
    worker = search.worker("a")
    for _ in range(2):
        worker.end_trial(broken(worker.create_trial("a")))
    last = broken(worker.create_trial("a"))
    with pytest.raises(RuntimeError, match="The search has ended: RuntimeError: Num"):
        worker.end_trial(last)
    search.ended()
    assert "exceeded the limit of 3" in str(search.failure)
    assert "broken" in str(search.failure)


def test_strangers_are_not_heard(monkeypatch):
    monkeypatch.setenv(_messages.TOKEN, "secret")
    search = Search(an_oracle(1))
    worker = search.worker("a", patience=0.3)
    trial = worker.create_trial("a")
    said = {**worker._question("rewind", 9, {"worker": "a", "step": 0}), "nonce": "1"}
    said["arguments"]["trial_id"] = trial.trial_id
    worker.update_trial(trial.trial_id, {"loss": 0.0})
    unsigned = b'{"question": "get_space"}\n'
    for text in (b"", b"x" * 100 + b"\n", unsigned, _messages.signed(said, "0" * 32)):
        with socket.create_connection(search.address) as connection:
            connection.settimeout(PATIENCE)
            assert connection.recv(100).startswith(b"keras_ext rendezvous ")
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b""
    # One that knows the token, and asks what nobody may ask.
    assert worker._exchange(worker._question("lose", 1, {}), 1.0) is None
    assert len(search.oracle.trials[trial.trial_id].metrics.get_history("loss")) == 1


def test_another_search_at_the_same_place_is_not_taken_for_this_one():
    search = Search(an_oracle(1))
    worker = search.worker("a", patience=0.2, search="other")
    with pytest.raises(RuntimeError, match="runs another search, `project`"):
        worker.create_trial("a")


def test_a_port_in_use_is_an_error_that_says_so():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        chief = Chief(an_oracle(), address=address, name="project", lease=1.0)
        with pytest.raises(RuntimeError, match=r"cannot listen at 127\.0\.0\.1:\d+: "):
            chief.run()


def test_an_empty_space_does_not_send_the_second_worker_away():
    """On stock 1.4.8 it exits at once: no values twice are a duplicate."""
    oracle = kx.tuner.Oracle("loss", 3)

    def populate(trial_id):
        values = oracle._random_values()
        return {
            "status": "RUNNING" if values is not None else "STOPPED",
            "values": values,
        }

    oracle.populate_space = populate
    search = Search(oracle)
    first, second = search.worker("a"), search.worker("b")
    trial = first.create_trial("a")
    waiting = threading.Thread(target=run_all, args=(second, "b"))
    waiting.start()
    time.sleep(0.2)
    trial.hyperparameters.Float("x", 0.0, 1.0)
    run(first, "a", trial)
    run_all(first, "a")
    waiting.join(PATIENCE)
    search.ended()
    assert len(oracle.trials) == 3
    assert oracle.objective == Objective("loss", "min")
