"""Random search, whole."""

import keras_ext as kx


def branch(hp):
    kind = hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["a"]):
        if kind == "a":
            return hp.Float("x", 0.0, 1.0)
    return 1.0 + hp.Int("n", 0, 5)


def test_conditions_hold_and_the_best_is_found(searching):
    search = searching(kx.tuner.RandomSearch, branch)(max_trials=20, seed=1)
    search.search(verbose=0)
    values = [t.hyperparameters.values for t in search.oracle.trials.values()]
    assert all(("x" in v) == (v["kind"] == "a") for v in values)
    assert 4 < sum(v["kind"] == "a" for v in values) < 16
    assert search.get_best_hyperparameters()[0].get("kind") == "a"
