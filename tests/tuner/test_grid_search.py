"""All combinations, once."""

import itertools

import keras_tuner
import pytest

import keras_ext as kx


def product(hp):
    return hp.Int("a", 1, 3) * hp.Choice("b", [2.0, 0.5]) * hp.Float("c", 1, 2, step=1)


def grid(searching, tuner, **arguments):
    made = searching(tuner, product)
    return made(project_name="project", seed=0, **arguments)


ALL = set(itertools.product((1, 2, 3), (2.0, 0.5), (1.0, 2.0)))


def seen(search):
    trials = search.oracle.trials.values()
    values = [tuple(t.hyperparameters.values.values()) for t in trials]
    assert len(values) == len(set(values))
    return set(values)


def test_an_interrupted_search_goes_on_with_what_is_left(searching):
    """On stock 1.4.8 it ends at once."""
    first = grid(searching, kx.tuner.GridSearch, max_trials=5)
    first.search(verbose=0)
    again = grid(searching, kx.tuner.GridSearch)
    again.search(verbose=0)
    assert seen(again) == ALL


def test_stock_does_not_go_on(searching):
    first = grid(searching, keras_tuner.GridSearch, max_trials=5)
    first.search(verbose=0)
    again = grid(searching, keras_tuner.GridSearch)
    again.search(verbose=0)
    assert len(seen(again)) < len(ALL)


@pytest.mark.parametrize("name", ["x", "a"])
def test_what_appears_late_begins_with_its_default(searching, name):
    """On stock 1.4.8 a worker that does not know it draws it, from beside the grid."""
    search = grid(searching, kx.tuner.GridSearch)
    trial = search.oracle.create_trial("tuner0")
    late = keras_tuner.HyperParameters()
    late.Float(name, 0.0, 1.0, default=0.25)
    late.values = {}
    trial.hyperparameters = late
    search.oracle._record_values(trial)
    assert late.values == {name: 0.25}


def test_a_name_that_is_there_again_is_refused(searching):
    """Of KerasTuner, the first combination would come again and again."""
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["a", "b"])
    for kind, low in (("a", 1), ("b", 10)):
        with hp.conditional_scope("kind", [kind]):
            hp.Int("size", low, low + 2)
    search = grid(searching, kx.tuner.GridSearch, hyperparameters=hp)
    with pytest.raises(ValueError, match=r"no name is there again.*\['size'\]"):
        search.search(verbose=0)
