"""The default search."""

import pytest

import keras_ext as kx
from keras_ext.tuner._encoded_space import EncodedSpace
from tests.thorough import LONG


@pytest.mark.thorough(LONG)
def test_it_is_a_gaussian_process_with_asha_and_gives_fit_its_epochs(build, data):
    search = kx.tuner.BOHB(build, "loss", 3, max_epochs=9, factor=2, seed=0)
    assert isinstance(search.oracle, kx.tuner.GaussianProcessOracle)
    assert search.oracle.scheduler.factor == 2
    search.search(**data, verbose=0)
    trials = list(search.oracle.trials.values())
    lengths = [len(t.metrics.get_history("loss")) for t in trials]
    assert max(lengths) == 9
    assert min(lengths) < 9
    # What a stopped trial has shown is known, for as long as it was trained.
    rows = search.oracle._rows(EncodedSpace(search.oracle.hyperparameters.space))
    ends = {row.place[0]: (row.epochs, row.cost) for row in rows}
    assert list(ends.values()) == [
        (length, trial.score) for length, trial in zip(lengths, trials, strict=True)
    ]


def test_short_trainings_are_not_stopped(build):
    assert kx.tuner.BOHB(build, "loss", max_epochs=8).oracle.scheduler is None
    median = kx.tuner.MedianStopping()
    other = kx.tuner.BOHB(build, "loss", max_epochs=8, scheduler=median)
    assert other.oracle.scheduler is median


def test_arguments_are_checked(build):
    with pytest.raises(ValueError, match="`max_epochs` must be an integer >= 1"):
        kx.tuner.BOHB(build, "loss", max_epochs=0)
