"""A worker without a chief. With one: see `test_chief.py`."""

import keras_tuner
import pytest

import keras_ext as kx
from keras_ext.distribute.launch import free_ports
from keras_ext.tuner._remote_oracle import RemoteOracle


def loss(hp):
    return hp.Float("x", 0.0, 1.0)


def a_worker(oracle, patience=0.2):
    address = ("127.0.0.1", free_ports(1)[0])
    return RemoteOracle(
        oracle, address=address, worker="a", search="project", patience=patience
    )


def test_a_chief_that_is_not_there_is_an_error_that_says_so():
    worker = a_worker(kx.tuner.Oracle("loss", 3, seed=5))
    with pytest.raises(
        RuntimeError, match="did not answer within 0.2 seconds. Does it"
    ):
        worker.get_space()
    assert (worker.objective.name, worker.max_trials) == ("loss", 3)
    with pytest.raises(AttributeError, match="A worker has no `trials`: ask the chief"):
        _ = worker.trials


def test_after_the_search_its_files_are_read(searching):
    search = searching(kx.tuner.RandomSearch, loss)(max_trials=3, seed=0)
    search.search(verbose=0)
    local = kx.tuner.Oracle(max_trials=3)
    local._set_project_dir(search.directory, search.project_name)
    worker = a_worker(local)
    worker._has_ended = True
    trials = search.oracle.get_best_trials(3)
    assert [t.score for t in worker.get_best_trials(3)] == [t.score for t in trials]
    assert worker.get_trial("1").score == search.oracle.trials["1"].score
    assert [hp.name for hp in worker.get_space().space] == ["x"]


def test_a_process_that_does_not_speak_for_its_cluster_is_silent():
    worker = a_worker(kx.tuner.Oracle("loss"), patience=0.0)
    worker.should_report = False
    assert worker.update_trial("0", {"loss": 1.0}).status == "RUNNING"
    worker.end_trial(keras_tuner.engine.trial.Trial(keras_tuner.HyperParameters()))
    worker.rewind("0", 1)
    worker.update_space(keras_tuner.HyperParameters())


def test_a_tuner_asks_the_chief_when_the_environment_says_so(build, monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(free_ports(1)[0]))
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    chief = kx.tuner.RandomSearch(build, "loss", project_name="project")
    assert chief.is_chief
    chief.save()
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker-0")

    def no_build(hp):
        raise AssertionError("The chief knows the space.")

    worker = kx.tuner.RandomSearch(
        no_build, "loss", project_name="project", overwrite=True
    )
    assert not worker.is_chief
    assert isinstance(worker.oracle, RemoteOracle)
    # What the chief has written is still there.
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    again = kx.tuner.RandomSearch(no_build, "loss", project_name="project")
    assert [hp.name for hp in again.oracle.hyperparameters.space] == ["rate"]
