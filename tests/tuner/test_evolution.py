"""Who is whose copy, with what changed."""

import keras_tuner
import numpy as np
import pytest

import keras_ext as kx
from tests.thorough import STATISTICS


def cost(hp):
    """Of a mixed space with a condition; the least is 0."""
    kind = hp.Choice("kind", ["a", "b", "c"])
    with hp.conditional_scope("kind", ["b", "c"]):
        size = hp.Int("size", 1, 64, sampling="log")
    flags = sum(hp.Boolean(f"flag_{i}") for i in range(4))
    rate = hp.Float("rate", 1e-4, 1.0, sampling="log")
    extra = 3.0 if kind == "a" else abs(np.log2(size / 16))
    return flags + extra + abs(np.log10(rate) + 2) + (kind == "c")


def ended(search):
    return [search.oracle.trials[i] for i in search.oracle.end_order]


def make(searching, **kwargs):
    given = {"population": 6, "tournament": 6, "seed": 1, **kwargs}
    return searching(kx.tuner.Evolution, cost)(**given)


def test_a_copy_of_the_best_that_lives_with_one_thing_changed(searching):
    """With a tournament of all, the parent is known without drawing anything."""
    search = make(searching, max_trials=40)
    search.search(verbose=0)
    trials = ended(search)
    assert len(trials) == 40
    ever_best_died = False
    for number, trial in enumerate(trials):
        if number < 6:
            assert trial.trial_id not in search.oracle.parents
            continue
        living = trials[number - 6 : number]
        best = min(living, key=lambda t: t.score)
        assert search.oracle.parents[trial.trial_id] == best.trial_id
        ever_best_died |= best is not min(trials[:number], key=lambda t: t.score)
        old, new = best.hyperparameters.values, trial.hyperparameters.values
        changed = {name for name in old if name in new and old[name] != new[name]}
        appeared = set(new) ^ set(old)
        assert len(changed) == 1
        assert appeared <= ({"size"} if changed == {"kind"} else set())
    assert ever_best_died


def test_a_tournament_takes_the_best_of_some(searching):
    """Of two among six, the best is the parent in one third of all cases."""
    search = make(searching, max_trials=150, tournament=2)
    search.search(verbose=0)
    trials = ended(search)
    ranks = []
    for number in range(6, 150):
        living = sorted(trials[number - 6 : number], key=lambda t: t.score)
        names = [trial.trial_id for trial in living]
        ranks.append(names.index(search.oracle.parents[trials[number].trial_id]))
    shares = np.bincount(ranks, minlength=6) / len(ranks)
    # The best of two of six: (6 - rank - 1) / 15.
    np.testing.assert_allclose(shares, np.arange(5, -1, -1) / 15, atol=0.13)
    assert shares[5] == 0


def test_goes_on_as_if_nothing_had_happened(searching):
    whole = make(searching, max_trials=20, project_name="whole")
    whole.search(verbose=0)
    make(searching, max_trials=13).search(verbose=0)
    again = make(searching, max_trials=20)
    again.search(verbose=0)
    expected = [t.hyperparameters.values for t in ended(whole)]
    assert [t.hyperparameters.values for t in ended(again)] == expected


def test_ends_when_all_was_tried(searching):
    def two(hp):
        return float(hp.Boolean("a")) + hp.Choice("b", [1, 2, 3])

    search = searching(kx.tuner.Evolution, two)(population=2, tournament=1, seed=0)
    search.search(verbose=0)
    assert len(search.oracle.trials) == 6


@pytest.mark.thorough(STATISTICS)
def test_comes_nearer_than_random_search(searching):
    """Over five seeds, medians after 100 trials."""

    def best(tuner, seed):
        given = {"max_trials": 100, "seed": seed, "overwrite": True}
        search = searching(tuner, cost)(**given)
        search.search(verbose=0)
        return search.oracle.get_best_trials()[0].score

    found = [best(kx.tuner.Evolution, seed) for seed in range(5)]
    random = [best(kx.tuner.RandomSearch, seed) for seed in range(5)]
    assert np.median(found) < 0.75 * np.median(random)


def test_arguments_are_checked():
    def build(hp):
        raise AssertionError

    with pytest.raises(ValueError, match="`tournament` must be at most population=4"):
        kx.tuner.Evolution(build, population=4, tournament=5)
    with pytest.raises(ValueError, match="`objective` must be a single objective"):
        kx.tuner.Evolution(build, ["loss", "accuracy"])
    assert issubclass(kx.tuner.Evolution, keras_tuner.Tuner)


def sizes(hp):
    """Two kinds with sizes of their own, of one name."""
    kind = hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["a"]):
        of_a = hp.Int("size", 100, 200)
    with hp.conditional_scope("kind", ["b"]):
        of_b = hp.Int("size", 1, 3)
    assert (of_b if kind == "a" else of_a) is None
    return of_a if kind == "a" else of_b


def test_a_value_does_not_go_on_under_other_conditions(searching):
    search = searching(kx.tuner.Evolution, sizes)(
        population=4, tournament=2, seed=0, max_trials=30
    )
    search.search(verbose=0)
    for trial in ended(search):
        values = trial.hyperparameters.values
        assert (values["size"] >= 100) == (values["kind"] == "a")
    kinds = [trial.hyperparameters.get("kind") for trial in ended(search)]
    assert any(a != b for a, b in zip(kinds[4:], kinds[5:], strict=False))
