"""Projects that can be opened, whatever ended the search."""

import json
import os
import signal
import time

import keras_tuner
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.tuner._records import in_order, records_of
from tests.thorough import LONG, PROCESSES


def square(hp):
    return hp.Float("x", -1.0, 1.0) ** 2


@pytest.fixture
def search(searching):
    def search(count=6, tuner=kx.tuner.RandomSearch):
        return searching(tuner, square)(
            objective=None, max_trials=count, seed=0, project_name="project"
        )

    return search


def configurations(made):
    trials = made.oracle.trials
    return [trials[i].hyperparameters.values for i in sorted(trials)]


def test_a_search_goes_on_as_if_nothing_had_happened(search):
    whole = search()
    whole.search(verbose=0)
    expected = configurations(whole)
    first = search(4)
    first.oracle.max_trials = 6
    assert configurations(first) == expected  # it has read them
    again = search()
    again.search(verbose=0)
    assert configurations(again) == expected


@pytest.mark.parametrize("text", ["", '{"ongoing_trials": {'])
def test_without_a_whole_oracle_file_the_trials_are_read(search, tmp_path, text):
    """On stock 1.4.8 the project cannot be opened, as after a full disk."""
    whole = search(4)
    whole.search(verbose=0)
    file = tmp_path / "project" / "oracle.json"
    before = json.loads(file.read_text())
    file.write_text(text)
    if not text:
        with pytest.raises(json.JSONDecodeError):
            search(4, tuner=keras_tuner.RandomSearch)
    with pytest.warns(UserWarning, match="taken from the files of its 4 trials"):
        again = search(6)
    state = again.oracle.get_state()
    for name in ("start_order", "end_order", "retry_queue", "id_to_hash"):
        assert state[name] == before[name]
    assert sorted(state["tried_so_far"]) == sorted(before["tried_so_far"])
    assert configurations(again) == configurations(whole)
    again.search(verbose=0)
    assert len(configurations(again)) == 6


def test_files_that_do_not_agree_are_put_in_order(search, tmp_path):
    """Killed between two files, on stock 1.4.8 a trial is lost, or counted twice."""
    made = search(4)
    made.search(verbose=0)
    file = tmp_path / "project" / "oracle.json"
    state = json.loads(file.read_text())
    state["end_order"] = state["end_order"][:2] + state["end_order"][:1]
    state["ongoing_trials"] = {"tuner0": "3"}
    state["start_order"] = state["start_order"][:3]
    file.write_text(json.dumps(state))
    running = tmp_path / "project" / "trial_2" / "trial.json"
    trial = json.loads(running.read_text())
    running.write_text(json.dumps({**trial, "status": "RUNNING"}))
    oracle = search(4).oracle
    assert oracle.start_order == ["0", "1", "2", "3"]
    assert oracle.end_order == ["0", "1", "3"]  # its own file says that it has ended
    assert oracle._retry_queue == ["2"]


def test_a_trial_whose_file_is_not_whole_is_left_out(search, tmp_path):
    made = search(3)
    made.search(verbose=0)
    (tmp_path / "project" / "trial_1" / "trial.json").write_text("")
    with pytest.warns(UserWarning, match=r"trial_1.trial.json is not whole: left out"):
        assert sorted(search(3).oracle.trials) == ["0", "2"]


@pytest.mark.thorough(LONG)
def test_a_scheduler_knows_again_what_it_has_seen(build, data):
    def search():
        return kx.tuner.RandomSearch(
            build, "loss", 3, seed=0, scheduler=kx.tuner.ASHA(factor=2)
        )

    first = search()
    first.search(**data, epochs=2, verbose=0)
    assert search().oracle.scheduler._rungs == first.oracle.scheduler._rungs


def test_a_project_of_another_kind_says_so(search, searching, tmp_path):
    search(2).search(verbose=0)
    with pytest.raises(RuntimeError, match="is of another kind of search"):
        searching(kx.tuner.Hyperband, square)(objective=None, project_name="project")


def killed_after(search, seconds):
    """Searches in a process that is killed, which neither trains nor waits."""
    child = os.fork()
    if child == 0:
        search(10**6).search(verbose=0)
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.thorough(PROCESSES)
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of `fork`
def test_killed_at_any_moment_it_leaves_a_project_that_opens(search):
    """On stock 1.4.8, the first of 25 such kills left an `oracle.json` of 0 bytes."""
    random, known = np.random.default_rng(0), 0
    for _ in range(25):
        killed_after(search, random.uniform(0.1, 0.3))
        oracle = search(10**6).oracle
        assert len(oracle.trials) >= known
        known = len(oracle.trials)
        assert len(oracle.end_order) >= known - 1
    assert known > 25


def test_trials_of_a_search_with_more_of_them_are_in_their_order(searching, tmp_path):
    """KerasTuner pads names as `max_trials` has digits: "9" comes before "010"."""
    for most in (9, 102):
        made = searching(kx.tuner.RandomSearch, square)(
            max_trials=most, seed=0, directory=str(tmp_path)
        )
        made.search(verbose=0)
    order = made.oracle.start_order
    assert order[8:10] == ["8", "009"]
    assert [record.trial for record in in_order(records_of(made.oracle))] == order
    (tmp_path / "untitled_project" / "oracle.json").write_text("")
    with pytest.warns(UserWarning, match="not whole"):
        again = type(made)(max_trials=102, seed=0, directory=str(tmp_path))
    assert again.oracle.start_order == order


class Kept(kx.tuner.RandomSearch):
    """Two kinds with sizes of their own, of one name; the first is asked for last."""

    def run_trial(self, trial, **kwargs):
        hp = trial.hyperparameters
        kind = hp.Choice("kind", ["a", "b"])
        with hp.conditional_scope("kind", ["a"]):
            of_a = hp.Int("size", 100, 200)
        with hp.conditional_scope("kind", ["b"]):
            hp.Int("size", 1, 3)
        return 1.0 if kind == "b" else of_a


def test_a_value_stays_whose_name_is_there_again_under_other_conditions():
    """On stock 1.4.8 a trial of the first kind has no size: a KeyError."""
    made = Kept(max_trials=8, seed=0)
    made.search(verbose=0)
    kinds = {t.hyperparameters.get("kind") for t in made.oracle.trials.values()}
    assert kinds == {"a", "b"}
    assert all(t.status == "COMPLETED" for t in made.oracle.trials.values())
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["a", "b"])
    for kind, low in (("a", 100), ("b", 1)):
        with hp.conditional_scope("kind", [kind]):
            hp.Int("size", low, 2 * low)
    hp.values["size"] = 150
    hp.ensure_active_values()
    assert "size" not in hp.values
