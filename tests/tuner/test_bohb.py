"""The default search."""

import pytest

import keras_ext as kx
from tests.thorough import LONG


@pytest.mark.thorough(LONG)
def test_it_is_tpe_with_asha_and_gives_fit_its_epochs(build, data):
    search = kx.tuner.BOHB(build, "loss", 3, max_epochs=9, factor=2, seed=0)
    assert isinstance(search.oracle, kx.tuner.OptunaOracle)
    assert search.oracle.scheduler.factor == 2
    search.search(**data, verbose=0)
    trials = list(search.oracle.trials.values())
    lengths = [len(t.metrics.get_history("loss")) for t in trials]
    assert max(lengths) == 9
    assert min(lengths) < 9
    told = [trial.value for trial in search.oracle._study.trials]
    assert told == [trial.score for trial in trials]


def test_short_trainings_are_not_stopped(build):
    assert kx.tuner.BOHB(build, "loss", max_epochs=8).oracle.scheduler is None
    median = kx.tuner.MedianStopping()
    other = kx.tuner.BOHB(build, "loss", max_epochs=8, scheduler=median)
    assert other.oracle.scheduler is median


def test_arguments_are_checked(build):
    with pytest.raises(ValueError, match="`max_epochs` must be an integer >= 1"):
        kx.tuner.BOHB(build, "loss", max_epochs=0)
