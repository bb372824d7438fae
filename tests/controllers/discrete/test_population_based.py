import math
import re

import numpy as np
import pytest

from keras_ext.controllers import PopulationBased


def quadratic(steps, population, rate=0.01, every=5):
    """The toy of figure 2 of Jaderberg et al.; the scores at the end.

    The objective 1.2 - t0**2 - t1**2 is maximized by ascending on the surrogate
    1.2 - h0 * t0**2 - h1 * t1**2, and h is what is adapted.
    """
    hyper = [{"h0": 1.0, "h1": 0.0}, {"h0": 0.0, "h1": 1.0}]
    theta = np.full((2, 2), 0.9)
    if population is not None:
        hyper = population.settings
    for step in range(steps):
        strengths = np.array([[h["h0"], h["h1"]] for h in hyper])
        theta = theta - rate * 2 * strengths * theta
        if population is not None and step % every == every - 1:
            sources = population.update(1.2 - (theta**2).sum(1))
            theta, hyper = theta[sources], population.settings
    return 1.2 - (theta**2).sum(1)


def draw(rng):
    return rng.uniform(0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_solves_the_quadratic_of_the_paper_where_the_grid_does_not(seed):
    # Each of the two fixed settings leaves one coordinate where it was.
    grid = quadratic(400, None)
    np.testing.assert_allclose(grid, 1.2 - 0.9**2, atol=1e-3)
    population = PopulationBased(
        [{"h0": 1.0, "h1": 0.0}, {"h0": 0.0, "h1": 1.0}],
        resample={"h0": draw, "h1": draw},
        mode="max",
        seed=seed,
    )
    assert quadratic(400, population).max() > 1.15


def test_the_worst_fifth_takes_over_from_the_best_fifth():
    settings = [{"a": float(i + 1), "b": 10.0 * (i + 1)} for i in range(10)]
    scores = [5, 1, 9, 3, 0, 8, 2, 7, 4, 6]
    copied = set()
    for seed in range(20):
        population = PopulationBased(settings, seed=seed)
        sources = population.update(scores)
        kept = [i for i in range(10) if i not in (2, 5)]
        assert [sources[i] for i in kept] == kept
        assert all(population.settings[i] == settings[i] for i in kept)
        for member in (2, 5):
            copied.add(sources[member])
            for name in ("a", "b"):
                ratio = (
                    population.settings[member][name] / settings[sources[member]][name]
                )
                assert min(abs(ratio - 0.8), abs(ratio - 1.2)) < 1e-12
    assert copied == {4, 1}


def test_mode_max_turns_the_order_round():
    settings = [{"a": 1.0}, {"a": 2.0}]
    assert PopulationBased(settings, mode="max").update([0.3, 0.9]) == [1, 1]
    assert PopulationBased(settings).update([0.3, 0.9]) == [0, 0]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_member_that_diverged_is_the_worst(mode):
    settings = [{"a": 1.0}, {"a": 2.0}, {"a": 3.0}]
    sources = PopulationBased(settings, mode=mode).update([math.nan, 5.0, 5.0])
    assert sources == [1, 1, 2]
    # And when all have diverged, no one is copied.
    nothing = PopulationBased(settings, mode=mode).update([math.nan, math.inf, None])
    assert nothing == [0, 1, 2]


def test_equal_members_explore_too():
    """As at the start, or nothing would ever change."""
    population = PopulationBased([{"a": 1.0}, {"a": 1.0}])
    assert population.update([0.5, 0.5]) == [0, 0]
    assert population.settings[1]["a"] in (0.8, 1.2)


def test_bounds_and_resampling():
    settings = [{"a": 0.5}, {"a": 0.5}]
    population = PopulationBased(settings, bounds={"a": (0.45, 0.55)}, seed=0)
    seen = set()
    for _ in range(20):
        population.update([0.0, 1.0])
        seen.add(population.settings[1]["a"])
    assert seen == {0.45, 0.55}
    drawn = PopulationBased(
        settings, resample={"a": lambda rng: 7.0}, resample_probability=1.0
    )
    drawn.update([0.0, 1.0])
    assert drawn.settings == [{"a": 0.5}, {"a": 7.0}]


def test_what_was_given_is_not_changed_and_a_seed_repeats():
    settings = [{"a": 1.0}, {"a": 2.0}]
    results = []
    for _ in range(2):
        population = PopulationBased(settings, seed=5)
        for _ in range(10):
            population.update([0.0, 1.0])
        results.append(population.settings)
    assert results[0] == results[1]
    assert settings == [{"a": 1.0}, {"a": 2.0}]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"settings": [{"a": 1}]}, "`settings` must be a list of two or more"),
        (
            {"settings": [{"a": 1}, {"b": 1}]},
            "`settings` must be a list of two or more",
        ),
        ({"factors": ()}, "`factors` must be a list of numbers > 0. Received: fa"),
        (
            {"resample": {"c": draw}},
            "`resample` must be a dictionary to functions",
        ),
        (
            {"bounds": {"c": (0, 1)}},
            "`bounds` must be a dictionary to pairs",
        ),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        PopulationBased(**{"settings": [{"a": 1.0}, {"a": 2.0}], **kwargs})


def test_needs_a_score_of_each_member():
    population = PopulationBased([{"a": 1.0}, {"a": 2.0}])
    with pytest.raises(ValueError, match=r"`len\(scores\)` must be 2"):
        population.update([1.0])
