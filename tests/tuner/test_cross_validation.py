"""Which rows are held out, and that models are trained on the others."""

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.tuner._cross_validation import Folds
from tests.thorough import LONG

ROWS = np.arange(30)


def folds(x=ROWS, y=None, count=5, repeats=1, seed=0, **more):
    y = np.asarray(x, float) if y is None else y
    return Folds.of((count, repeats), (x, y), more, seed)


def test_each_row_is_held_out_once_in_each_repetition():
    made = folds(count=4, repeats=2)
    assert made.total == 8
    first, second = made.held_out[:4], made.held_out[4:]
    for parts in (first, second):
        assert sorted(np.concatenate(parts)) == list(ROWS)
        assert {len(part) for part in parts} == {7, 8}
    assert [p.tolist() for p in first] != [p.tolist() for p in second]
    # The same for each trial, others by another seed.
    again = [p.tolist() for p in folds(count=4, repeats=2).held_out]
    assert again == [p.tolist() for p in made.held_out]
    assert again != [p.tolist() for p in folds(count=4, repeats=2, seed=1).held_out]


@pytest.mark.parametrize("form", ["labels", "column", "one-hot"])
def test_classes_are_spread_evenly(form):
    labels = np.repeat([0, 1, 2], [20, 5, 5])
    forms = {"labels": labels, "column": labels[:, None], "one-hot": np.eye(3)[labels]}
    for part in folds(y=forms[form]).held_out:
        assert np.bincount(labels[part]).tolist() == [4, 1, 1]


def test_fit_is_given_the_other_rows():
    x = {"a": ROWS, "b": np.stack([ROWS, -ROWS], axis=1)}
    weight = ROWS / 10
    made = Folds.of(
        (3, 1), (), {"x": x, "y": ROWS, "sample_weight": weight, "epochs": 2}, 0
    )
    args, kwargs = made.arguments(1)
    held_out = made.held_out[1]
    assert args == ()
    assert kwargs["epochs"] == 2
    assert sorted([*kwargs["y"], *held_out]) == list(ROWS)
    np.testing.assert_array_equal(kwargs["x"]["b"][:, 1], -kwargs["y"])
    np.testing.assert_allclose(kwargs["sample_weight"], kwargs["y"] / 10)
    x_val, y_val, weight_val = kwargs["validation_data"]
    np.testing.assert_array_equal(y_val, held_out)
    np.testing.assert_array_equal(x_val["a"], held_out)
    np.testing.assert_allclose(weight_val, held_out / 10)
    assert len(folds().arguments(0)[1]["validation_data"]) == 2


def test_only_some_outputs_may_have_weights():
    more = {"sample_weight": [ROWS / 10, None]}
    _, kwargs = folds(y=[ROWS, -ROWS], **more).arguments(0)
    weight, none = kwargs["sample_weight"]
    np.testing.assert_allclose(weight, kwargs["y"][0] / 10)
    assert none is None
    assert kwargs["validation_data"][2][1] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation_split": 0.2}, "`validation_data` must be None"),
        ({"validation_data": (ROWS, ROWS)}, "`validation_data` must be None"),
        ({"y": ROWS[:5]}, "`x` must be arrays"),
        ({"x": "a generator"}, "`x` must be arrays"),
        ({"count": 31}, "`cross_validation` must be at most the 30 rows"),
    ],
)
def test_what_cannot_be_split_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        folds(**{"y": ROWS, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cross_validation": 1}, "`cross_validation` must be an integer >= 2"),
        ({"cross_validation": (2, 0)}, "`cross_validation` must be an integer >= 1"),
        (
            {"cross_validation": 2, "executions_per_trial": 2},
            "`executions_per_trial` must be 1 with `cross_validation`",
        ),
    ],
)
def test_arguments_of_the_tuner_are_checked(build, arguments, message):
    with pytest.raises(ValueError, match=message):
        kx.tuner.RandomSearch(build, "loss", **arguments)


def test_a_search_says_before_its_first_trial_that_data_cannot_be_split(build, data):
    search = kx.tuner.RandomSearch(build, "val_loss", 1, cross_validation=2)
    with pytest.raises(ValueError, match="`validation_data` must be None"):
        search.search(data["x"], data["y"], validation_split=0.5, verbose=0)
    assert search.oracle.trials == {}


class Interrupt(keras.callbacks.Callback):
    seen = 0

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_epoch_begin(self, epoch, logs=None):
        type(self).seen += 1
        if type(self).seen == self.at:
            raise KeyboardInterrupt


@pytest.mark.thorough(LONG)
def test_a_search_scores_by_the_mean_and_goes_on_within_a_fold(build, data):
    def run(*callbacks):
        search = kx.tuner.RandomSearch(
            build, "val_loss", 1, seed=0, cross_validation=3, project_name="cv"
        )
        fit = {"batch_size": 8, "epochs": 2, "verbose": 0, "shuffle": False}
        keras.utils.set_random_seed(0)
        search.search(data["x"], data["y"], **fit, callbacks=[*callbacks])
        return search.oracle.trials["0"]

    with pytest.raises(KeyboardInterrupt):
        run(Interrupt(4))  # in the second epoch of the second fold
    before = Interrupt.seen
    trial = run(Interrupt(10**6))
    assert Interrupt.seen - before == 3
    scores = [o.mean() for o in trial.metrics.get_history("folds")]
    assert len(scores) == 3
    assert trial.score == pytest.approx(np.mean(scores))
    losses = [o.value for o in trial.metrics.get_history("val_loss")]
    assert [len(epoch) for epoch in losses] == [3, 3]
    assert scores == pytest.approx(np.min(losses, axis=0))
    # Also of the fold before the interruption.
    assert trial.best_step == int(np.mean(np.argmin(losses, axis=0)))
