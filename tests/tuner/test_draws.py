"""Numbers that are the same for the same, and have nothing to do with others."""

import numpy as np
from scipy import stats

from keras_ext.tuner._draws import draw


def test_the_same_is_the_same_and_everything_else_another():
    first = draw(0, 1, 0, "rate")
    assert first == draw(0, 1, 0, "rate")
    others = [draw(1, 1, 0, "rate"), draw(0, 2, 0, "rate"), draw(0, 1, 1, "rate")]
    assert len({first, *others, draw(0, 1, 0, "units")}) == 5


def test_neighbouring_seeds_trials_and_names_are_uniform_and_independent():
    values = np.array(
        [[draw(seed, trial, 0, "a") for trial in range(40)] for seed in range(40)]
    )
    assert stats.kstest(values.ravel(), "uniform").pvalue > 0.01
    for one, other in (
        (values[:-1], values[1:]),  # seeds
        (values[:, :-1], values[:, 1:]),  # trials
        (values[:-1, 1:], values[1:, :-1]),  # both, as stock has them the same
    ):
        assert stats.pearsonr(one.ravel(), other.ravel()).pvalue > 0.01
