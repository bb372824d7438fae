"""Which trials are not trained on all folds, with scores given by hand."""

import numpy as np
import pytest
from scipy import stats

import keras_ext as kx
from keras_ext.tuner._folding_oracle import are_above_zero


@pytest.fixture(params=["loss", "accuracy"])
def judged(request):
    """Returns a function that has folds judged, given as losses."""
    sign = 1 if request.param == "loss" else -1
    oracle = kx.tuner.OptunaOracle(request.param, None, seed=0)
    oracle.hyperparameters.Float("x", 0.0, 1.0)
    oracle._set_project_dir(".", request.param)

    def judge(*losses, count=4):
        trial = oracle.create_trial("a")
        for fold, loss in enumerate(losses):
            if oracle.judge_fold(trial.trial_id, sign * loss, fold, count):
                break
        mean = float(np.mean(losses[: fold + 1]))
        oracle.conclude(trial.trial_id, {request.param: sign * mean}, 0)
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
        return fold + 1, sign * trial.score, trial.message

    return judge


def test_what_is_behind_on_the_same_folds_is_stopped_and_counts_as_that_much_worse(
    judged,
):
    # The first folds are the easy ones.
    assert judged(1.0, 1.1, 3.0, 3.1) == (4, pytest.approx(2.05), None)
    folds, score, message = judged(1.5, 1.6, 0.0, 0.0)
    assert folds == 2
    assert score == pytest.approx(2.55)  # and not the 1.55 of the easy ones
    assert (
        message == "Stopped after 2 of 4 folds: trial 0000 is better on the same ones."
    )


def test_what_may_be_better_is_trained_on_all(judged):
    judged(1.0, 1.1, 3.0, 3.1)
    assert judged(2.0, 1.15, 2.0, 2.0)[0] == 4
    # The second is the best now, by which the third is judged.
    assert judged(2.6, 1.5, 2.5, 9.0)[:2] == (3, pytest.approx(1.7875 + 1.45 / 3))
    assert judged(float("inf"), 0.0, 0.0, 0.0)[0] == 1


def test_the_test_is_that_of_student():
    rng = np.random.default_rng(0)
    for count in range(2, 11):
        for _ in range(50):
            numbers = rng.normal(loc=0.5, size=count)
            p = stats.ttest_1samp(numbers, 0.0, alternative="greater").pvalue
            if abs(p - 0.05) > 1e-3:
                assert are_above_zero(list(numbers)) == (p < 0.05)
    assert not are_above_zero([3.0])
    assert are_above_zero([0.1, 0.1])
    assert not are_above_zero([-0.1, -0.1])
