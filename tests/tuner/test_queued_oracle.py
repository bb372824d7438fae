"""Known configurations come first."""

import keras_tuner
import numpy as np
import pytest

import keras_ext as kx


def space():
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["b"]):
        hp.Float("x", 0.0, 1.0, default=0.5)
    hp.Int("n", 1, 8, step=2)
    hp.Boolean("flag")
    hp.Fixed("c", 3)
    return hp


def cost(hp):
    return 1.0


def search(searching, sampler, count=4):
    if sampler == "random search":
        return searching(kx.tuner.RandomSearch, cost)(
            max_trials=count, seed=0, hyperparameters=space()
        )
    oracle = kx.tuner.OptunaOracle(
        max_trials=count, sampler=sampler, seed=0, hyperparameters=space()
    )
    return searching(kx.tuner.Tuner, cost)(oracle)


@pytest.mark.parametrize("sampler", ["random search", "tpe", "nsga2"])
def test_they_are_tried_first_and_once(searching, sampler):
    for count in (4, 6):  # the second goes on with the first
        made = search(searching, sampler, count)
        for _ in range(2):
            made.oracle.enqueue({"kind": "b", "n": 7})
            made.oracle.enqueue({"flag": True})
        made.search(verbose=0)
    trials = made.oracle.trials
    values = [trials[i].hyperparameters.values for i in made.oracle.start_order]
    assert values[:2] == [
        {"kind": "b", "x": 0.5, "n": 7, "flag": False, "c": 3},
        {"kind": "a", "n": 1, "flag": True, "c": 3},
    ]
    assert len({str(v) for v in values}) == len(values) == 6


def test_what_waits_survives(searching):
    made = search(searching, "tpe", 4)
    made.oracle.enqueue({"n": 3})
    made.save()
    again = search(searching, "tpe", 4)
    again.search(verbose=0)
    assert again.oracle.trials["0"].hyperparameters.get("n") == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"m": 1}, r"names among \['c', 'flag', 'kind', 'n', 'x'\]"),
        ({"kind": "c"}, r"`kind` must be one of \['a', 'b'\]"),
        ({"x": 2.0}, r"`x` must be a number in \[0, 1\]"),
        ({"n": 2.5}, r"`n` must be an integer in \[1, 8\]"),
        ({"flag": 1}, "`flag` must be True or False"),
        ({"c": 4}, "`c` must be 3"),
        ([1], "`values` must be a dictionary"),
    ],
)
def test_what_is_not_in_the_space_is_refused(values, message):
    oracle = kx.tuner.OptunaOracle("loss", hyperparameters=space())
    with pytest.raises(ValueError, match=message):
        oracle.enqueue(values)


def test_what_is_between_steps_is_refused(tmp_path):
    """Optuna would be given the nearest step without a word."""
    hp = keras_tuner.HyperParameters()
    hp.Int("batch_size", 16, 256, step=2, sampling="log")
    hp.Float("rate", 0.1, 0.7, step=0.2)
    oracle = kx.tuner.OptunaOracle("loss", hyperparameters=hp)
    oracle._set_project_dir(tmp_path, "project")
    with pytest.raises(ValueError, match="`batch_size` must be one of its steps; the "):
        oracle.enqueue({"batch_size": 100})
    with pytest.raises(ValueError, match="steps; the nearest is 0.5. Received: rate=0"):
        oracle.enqueue({"rate": 0.55})
    oracle.enqueue({"batch_size": 64, "rate": 0.3})
    assert oracle.create_trial("a").hyperparameters.values == pytest.approx(
        {"batch_size": 64, "rate": 0.3}
    )


@pytest.mark.parametrize("tuner", ["GridSearch", "Hyperband"])
def test_where_there_is_no_room_it_says_so(searching, tuner):
    made = searching(getattr(kx.tuner, tuner), cost)(hyperparameters=space())
    with pytest.raises(ValueError, match="called on another kind of search"):
        made.oracle.enqueue({"n": 3})


def test_numbers_of_numpy_are_those_that_a_file_can_hold(searching):
    made = search(searching, "random search", 1)
    given = {"kind": np.str_("b"), "x": np.float32(0.25), "n": np.int64(3)}
    made.oracle.enqueue({**given, "flag": np.bool_(True), "c": np.int64(3)})
    made.search(verbose=0)
    values = made.oracle.trials["0"].hyperparameters.values
    assert values == {"kind": "b", "x": 0.25, "n": 3, "flag": True, "c": 3}


def test_of_a_name_with_two_ranges_the_active_one_counts():
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["a", "b"])
    for kind, units in (("a", [8, 16]), ("b", [32, 64])):
        with hp.conditional_scope("kind", [kind]):
            hp.Choice("units", units)
    oracle = kx.tuner.RandomSearch(lambda hp: None, "loss", hyperparameters=hp).oracle
    oracle.enqueue({"kind": "a", "units": 16})
    oracle.enqueue({"kind": "b", "units": 64})
    with pytest.raises(ValueError, match=r"`units` must be one of \[8, 16\]"):
        oracle.enqueue({"kind": "a", "units": 64})
