"""What a person sees while a search runs, with a clock that is turned by hand."""

import io
import sys

import keras_tuner
import pytest
from keras_tuner.engine.trial import Trial
from rich.console import Console

import keras_ext as kx
from keras_ext.tuner import _progress
from keras_ext.tuner._progress import Progress, clock_time


def loss(hp):
    value = hp.Float("x", 0.0, 1.0)
    if value > 0.8:
        raise ValueError("too far")
    return value


@pytest.fixture
def run(searching, capsys):
    def run(**arguments):
        search = searching(kx.tuner.RandomSearch, loss)(
            max_trials=6, seed=1, progress=True, **arguments
        )
        search.search()
        return search, capsys.readouterr().out

    return run


def test_a_file_gets_a_line_for_each_trial(run):
    search, out = run()
    lines = out.splitlines()
    assert len(lines) == 6
    frame = search.to_dataframe().set_index("trial")
    for line, trial in zip(lines, search.oracle.end_order, strict=True):
        row = frame.loc[trial]
        told = f"score {row.score:.4g}" if row.status == "completed" else "too far"
        assert line.startswith(f"trial {trial}: {row.status}")
        assert told.replace("score ", "") in line
    assert "6/6" in lines[-1]
    assert f"(trial {frame.score.idxmin()})" in lines[-1]
    assert "left" in lines[0]
    assert "left" not in lines[-1]


def test_a_notebook_gets_one_line_that_changes(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", None)
    _, out = run()
    assert out.endswith("\n")
    assert "\r" in out
    assert len(out.splitlines()[-1]) <= _progress._WIDTH + 40


def test_a_terminal_gets_lines_of_rich(run, monkeypatch):
    monkeypatch.setattr(_progress, "way", lambda: "rich")
    _, out = run()
    assert "6/6 trials" in out
    assert "best" in out


def test_epochs_of_running_trials_are_shown(ended):
    now = [0.0]
    shown = Progress(ended.oracle, clock=lambda: now[0])
    trial = ended.oracle.trials["01"]
    shown.on_trial_begin(trial)
    now[0] = 62.0
    shown.on_report(trial, 8)
    value = trial.metrics.get_last_value("val_loss")
    assert f"trial 01: epoch 9, val_loss {value:.4g}" in shown.line()
    assert "1:02" in shown.line()
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(shown._panel())
    text = console.export_text()
    assert "running" in text
    assert "trials stopped" in text


def test_no_time_is_foreseen_while_a_population_runs_side_by_side():
    oracle = kx.tuner.Oracle("loss", 3)
    now = [0.0]
    shown = Progress(oracle, clock=lambda: now[0])
    trials = [Trial(keras_tuner.HyperParameters(), trial_id=str(i)) for i in range(3)]
    for trial in trials:
        shown.on_trial_begin(trial)
    now[0] = 60.0
    oracle.trials, oracle.end_order = {"0": trials[0]}, ["0"]
    for trial in trials[:2]:
        shown._running.pop(trial.trial_id)
        assert "left" not in shown._ended(trials[0])
    shown._running.clear()
    assert "left" in shown._ended(trials[0])


def test_of_several_objectives_all_are_shown():
    oracle = kx.tuner.Oracle(["loss", "accuracy"])
    trial = Trial(keras_tuner.HyperParameters(), trial_id="0")
    for name, value in (("loss", 0.5), ("accuracy", 0.75)):
        trial.metrics.register(name)
        trial.metrics.update(name, value)
    shown = Progress(oracle)
    shown.on_report(trial, 2)
    assert "trial 0: epoch 3, loss 0.5, accuracy 0.75" in shown.line()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (61.5, "1:02"), (3725, "1:02:05")]
)
def test_times(seconds, text):
    assert clock_time(seconds) == text


def test_no_terminal_means_lines_and_one_without_rich_a_line(monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert _progress.way() == "lines"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert _progress.way() == "rich"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert _progress.way() == "line"
