"""What is told of the trials, by a search whose curves are known."""

import builtins
import math

import pytest

from keras_ext.tuner._objectives import Objective
from keras_ext.tuner._records import best_so_far, frame_of, longest, records_of


def test_records_say_what_has_happened(ended):
    records = records_of(ended.oracle)
    assert len(records) == 20
    scores = [r.score for r in records if r.score is not None]
    assert scores == sorted(scores)
    (failed,) = [r for r in records if r.status == "failed"]
    assert (failed.trial, failed.score) == ("05", None)
    assert failed.reason == "ValueError: broken <here>"
    assert records[-1] is failed
    for record in records[:-1]:
        rate, momentum = record.values["rate"], record.values.get("momentum", 0.3)
        losses = [
            (math.log10(rate) + 2) ** 2 + momentum + 3 / epoch
            for epoch in range(1, record.epochs + 1)
        ]
        assert [epoch for epoch, _ in record.curve] == list(range(1, len(losses) + 1))
        assert [loss for _, loss in record.curve] == pytest.approx(losses)
        assert record.score == pytest.approx(min(losses))
        assert record.best_epoch == record.epochs
        assert record.metrics == {"other": record.epochs - 1}
        # What a rule has stopped at its last epoch was not cut.
        stopped = record.epochs < 9
        assert (record.status == "stopped") == stopped
        assert record.reason == (
            f"Stopped after {record.epochs} epochs by ASHA." * stopped
        )
        assert record.seconds > 0
    assert longest(records, ended) == longest(records, None) == 9


def test_a_search_that_is_opened_again_tells_the_same(ended):
    oracle = type(ended.oracle)("val_loss", 20)
    again = type(ended)(oracle, directory=ended.directory)
    assert records_of(again.oracle) == records_of(ended.oracle)


def test_the_best_so_far_counts_all_epochs(ended):
    records = records_of(ended.oracle)
    steps = best_so_far(records, Objective("val_loss", "min"))
    spent, best = zip(*steps, strict=True)
    assert list(best) == sorted(best, reverse=True)
    assert best[-1] == records[0].score
    # The one that has failed has cost one evaluation.
    assert spent[-1] == sum(record.epochs for record in records) + 1


def test_a_frame_has_a_row_for_each_trial(
    ended, ended_with_two_objectives, monkeypatch
):
    frame = ended.to_dataframe()
    assert len(frame) == 20
    best = frame.iloc[0]
    assert best["metric.val_loss"] == best["score"] == frame["score"].min()
    assert set(frame["hp.kind"].dropna()) == {"sgd", "adam"}
    assert frame["hp.momentum"].isna().sum() == (frame["hp.kind"] != "sgd").sum()
    two = frame_of(ended_with_two_objectives.oracle)
    expected = 1 / two["hp.width"] + two["hp.dropout"]
    assert list(two["metric.val_loss"]) == pytest.approx(list(expected))
    whole = builtins.__import__

    def without_pandas(name, *args):
        if name == "pandas":
            raise ModuleNotFoundError(name="pandas")
        return whole(name, *args)

    monkeypatch.setattr("importlib.import_module", without_pandas)
    with pytest.raises(ImportError, match="This needs pandas"):
        ended.to_dataframe()
