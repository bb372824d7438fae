"""The page, read as text: what it must say, and that any text is only text."""

import re

import pytest

import keras_ext as kx
from keras_ext.tuner._objectives import parts_of
from keras_ext.tuner._records import records_of
from keras_ext.tuner._report import saved_epochs


def heads(text):
    return re.findall(r"<h2>(.*?)</h2>", text)


def test_a_report_has_everything(ended, tmp_path):
    path = tmp_path / "report.html"
    ended.report(path, title="Rates & kinds")
    text = path.read_text()
    assert heads(text) == [
        "The best",
        "Learning curves",
        "The best so far",
        "What matters",
        "Where val_loss is good",
        "All values",
        "All trials",
    ]
    assert "<title>Rates &amp; kinds</title>" in text
    frame = ended.to_dataframe()
    epochs = frame["epochs"].sum()
    saved = f"{epochs} epochs trained of {9 * 19}, {1 - epochs / (9 * 19):.0%} saved"
    assert saved in text
    assert f"20 trials: {sum(frame.status == 'completed')} completed" in text
    assert f"Trial {frame.trial[0]}: <b>val_loss {frame.score[0]:.5g}" in text
    assert text.count("data:image/png") == 5
    assert "ValueError: broken &lt;here&gt;" in text


def test_several_objectives_have_a_front(ended_with_two_objectives, tmp_path):
    path = tmp_path / "report.html"
    search = ended_with_two_objectives
    search.report(str(path), max_trials=11)
    text = path.read_text()
    assert "Pareto front" in heads(text)
    assert "Learning curves" not in heads(text)
    assert "12 evaluations" in text
    assert "1 more are not shown" in text
    front = text.partition("<h2>Pareto front</h2>")[2].partition("</section>")[0]
    rows = re.findall(r"<tr><td>(\d+)</td>", front)
    assert sorted(rows) == sorted(t.trial_id for t in search.oracle.pareto_trials())
    values = dict(re.findall(r"<tr><td>(\d+)</td><td>([\d.e-]+)</td>", front))
    for trial, value in values.items():
        seen = search.oracle.trials[trial].metrics.get_last_value("val_loss")
        assert float(value) == pytest.approx(seen, rel=1e-4)


def test_the_picture_is_that_of_the_report(ended, ended_with_two_objectives):
    (curves,) = ended.plot().axes
    assert (curves.get_xlabel(), curves.get_ylabel()) == ("epoch", "val_loss")
    (front, *_) = ended_with_two_objectives.plot().axes
    objectives = parts_of(ended_with_two_objectives.oracle.objective)
    names = [objective.name for objective in objectives]
    assert [front.get_xlabel(), front.get_ylabel()] == names


def test_one_trial_makes_a_report_too(searching, tmp_path):
    def constant(hp):
        return 1.0

    search = searching(kx.tuner.RandomSearch, constant)(max_trials=1)
    with pytest.raises(ValueError, match="`report` must be called when a trial has"):
        search.report(tmp_path / "report.html")
    with pytest.raises(ValueError, match="`plot` must be called when a trial has"):
        search.plot()
    search.search(verbose=0)
    assert search.plot().axes[0].get_xlabel() == "trials"
    search.report(tmp_path / "report.html")
    found = heads((tmp_path / "report.html").read_text())
    assert found == ["The best", "The best so far", "All trials"]
    assert saved_epochs(records_of(search.oracle), search) == "1 evaluations"
    with pytest.raises(ValueError, match="`max_trials` must be an integer >= 1"):
        search.report("report.html", max_trials=0)
