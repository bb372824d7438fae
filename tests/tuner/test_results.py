"""The numbers of a trial, whatever form they come in."""

import keras
import keras_tuner
import numpy as np
import pytest
from keras_tuner.src.engine import tuner_utils

from keras_ext.tuner._results import metrics_of

OBJECTIVE = keras_tuner.Objective("score", "max")


def history(**values):
    made = keras.callbacks.History()
    made.history = values
    return made


@pytest.mark.parametrize(
    "results",
    [
        {"score": 0.5, "other": 1.0},
        [{"score": 0.25}, {"score": 0.75}],
        history(score=[0.1, 0.4, 0.3], loss=[3.0, 2.0, 1.0]),
        [history(score=[0.1, 0.4]), history(score=[0.8, 0.2])],
    ],
)
def test_what_stock_does_right_is_the_same(results):
    metrics, step = metrics_of(results, OBJECTIVE)
    assert metrics == pytest.approx(
        dict(tuner_utils.convert_to_metrics_dict(results, OBJECTIVE))
    )
    assert step == tuner_utils.get_best_step(results, OBJECTIVE)


def test_epochs_that_are_not_finite_are_never_the_best():
    """On stock 1.4.8 NaN at the first epoch hides all others, and infinity wins."""
    first = history(score=[np.nan, 0.2, 0.3])
    assert np.isnan(tuner_utils.convert_to_metrics_dict(first, OBJECTIVE)["score"])
    assert metrics_of(first, OBJECTIVE) == ({"score": 0.3}, 2)
    assert metrics_of(history(score=[0.1, np.inf]), OBJECTIVE) == ({"score": 0.1}, 0)
    assert np.isnan(metrics_of(history(), OBJECTIVE)[0]["score"])


@pytest.mark.parametrize("score", [[0.2, 0.3, 0.1], [None, 0.3, None]])
def test_epochs_may_lack_the_objective_and_do_not_have_to_begin_with_0(score):
    made = history(score=score, loss=[3.0, 2.0, 1.0])
    made.epoch = [4, 5, 6]
    assert metrics_of(made, OBJECTIVE) == ({"score": 0.3, "loss": 2.0}, 5)


def test_a_training_that_never_logs_the_objective_says_what_it_logs():
    with pytest.raises(
        ValueError, match=r"`objective` must be among what `fit` logs: "
    ):
        metrics_of(history(loss=[3.0, 2.0]), OBJECTIVE)
    # It has diverged before the first validation.
    metrics, _ = metrics_of(history(loss=[3.0, np.nan]), OBJECTIVE)
    assert np.isnan(metrics["score"])


def test_a_dictionary_of_all_objectives_needs_no_sum():
    """On stock 1.4.8 it is an error that ends the search."""
    both = keras_tuner.src.engine.objective.MultiObjective(
        [OBJECTIVE, keras_tuner.Objective("cost", "min")]
    )
    metrics, _ = metrics_of({"score": 0.5, "cost": 2.0}, both)
    assert metrics == {"score": 0.5, "cost": 2.0, "multi_objective": 1.5}


def test_what_has_no_numbers_is_an_error_of_keras_tuner():
    with pytest.raises(keras_tuner.errors.FatalTypeError, match="None"):
        metrics_of(None, OBJECTIVE)
    with pytest.raises(keras_tuner.errors.FatalValueError, match="score"):
        metrics_of({"other": 1.0}, OBJECTIVE)
