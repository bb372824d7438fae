import keras_tuner
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.tuner._recommend import PastTrials, past_trials, portfolio, recommend

SIZES = {"num_rows": 1000, "num_features": 64, "num_classes": 10, "depth": 2}
# Two tasks, and configurations for the one, for the other, and for both in part.
PAST = PastTrials(
    values=[{"a": 0}, {"a": 1}, {"a": 2}],
    tasks=np.log([[100.0, 8, 2, 1], [100000.0, 8, 2, 1]]),
    regrets=np.array([[0.0, 1.0, 0.3], [1.0, 0.0, 0.4]]),
)


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        (100, [0, 1, 2]),  # its own best, then that of the other task
        (100000, [1, 0, 2]),
        (3162, [2, 1, 0]),  # both alike: first what serves both, then the extremes
    ],
)
def test_what_is_tried_next_is_what_leaves_least_to_be_wished_for(rows, chosen):
    task = np.log([rows, 8.0, 2, 1])
    assert portfolio(PAST, task, 3) == chosen
    # By enumeration: no other first one, and no other second, is better.
    weights = np.exp(-np.linalg.norm(PAST.tasks - task, axis=1) / 2)
    assert chosen[0] == np.argmin(weights @ PAST.regrets)
    left = [weights @ PAST.regrets[:, [chosen[0], i]].min(axis=1) for i in range(3)]
    assert left[chosen[1]] == min(left)


def test_what_is_recommended_is_in_the_space_and_can_be_built():
    space = kx.tuner.spaces.optimization(total_steps=100)
    hp = keras_tuner.HyperParameters()
    space.declare(hp)
    search = kx.tuner.OptunaOracle("loss", max_trials=40, hyperparameters=hp)
    found = recommend(**SIZES, count=10)
    for values in found:
        search.enqueue(values)
        of_this = hp.copy()
        of_this.values.update(values)
        assert space(of_this).learning_rate >= 0
    distinct = {tuple(sorted(values.items())) for values in found}
    assert len(distinct) == 10
    # What is handed out is the caller's.
    found[0].clear()
    assert recommend(**SIZES)[0]


def test_only_what_is_searched_is_recommended():
    space = kx.tuner.spaces.optimization(
        directions=["adam", "adamw", "sgd"], averaging="none", clip=["none"]
    )
    hp = keras_tuner.HyperParameters()
    space.declare(hp)
    search = kx.tuner.OptunaOracle("loss", max_trials=9, hyperparameters=hp)
    for values in recommend(**SIZES, space=space, count=1):
        assert "optimization/averaging" not in values
        search.enqueue(values)
    with pytest.raises(ValueError, match=r"`count` must be at most \d+, since so many"):
        recommend(**SIZES, space=space, count=50)
    narrow = kx.tuner.spaces.optimization(learning_rate=(99.0, 100.0))
    with pytest.raises(ValueError, match=r"`count` must be at most 0"):
        recommend(**SIZES, space=narrow)


def test_a_task_of_the_study_gets_what_did_well_on_it():
    past = past_trials()
    for task, regrets in zip(past.tasks, past.regrets, strict=True):
        tried = portfolio(past, task, 5)
        assert regrets[tried].min() < np.median(regrets)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_rows": 0}, r"`num_rows` must be an integer >= 1"),
        ({"num_classes": 1}, r"`num_classes` must be an integer >= 2"),
        ({"depth": 1.5}, r"`depth` must be an integer"),
        ({"count": 0}, r"`count` must be an integer >= 1"),
        ({"space": "adam"}, r"`space` must be what keras_ext\.tuner\.spaces\.optim"),
    ],
)
def test_rejects_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        recommend(**SIZES | change)
