import math
import re

import numpy as np
import pytest

from keras_ext.controllers import Bandit
from tests.thorough import LONG

STATIONARY = np.array([0.3, 0.4, 0.5, 0.6, 0.8])


def play(bandit, chances, rng):
    """The mean reward, when arm `i` pays with the chance `chances[t][i]`."""
    total = 0.0
    for chance in chances:
        reward = float(rng.random() < chance[bandit.arm])
        total += reward
        bandit.update(reward)
    return total / len(chances)


def mean_reward(chances, **options):
    rewards = []
    for seed in range(6):
        bandit = Bandit(range(5), seed=seed, **options)
        rewards.append(play(bandit, chances, np.random.default_rng(100 + seed)))
    return np.mean(rewards)


def test_weights_are_those_of_exp3():
    """Auer et al. multiply a weight by exp(gamma * reward / (probability * K))."""
    gamma, num_arms = 0.2, 4
    bandit = Bandit(
        range(num_arms),
        learning_rate=gamma / num_arms,
        exploration=gamma,
        forgetting=1.0,
        baseline=0.0,
        seed=0,
    )
    weights = np.ones(num_arms)
    rng = np.random.default_rng(1)
    for _ in range(50):
        probabilities = (1 - gamma) * weights / weights.sum() + gamma / num_arms
        np.testing.assert_allclose(bandit.probabilities, probabilities, rtol=1e-9)
        arm, reward = bandit.arm, rng.random()
        weights[arm] *= math.exp(gamma * reward / (probabilities[arm] * num_arms))
        bandit.update(reward)
    assert probabilities.max() > 0.3


def test_regret_is_within_the_bound():
    """Theorem 3.1 and corollary 3.2 of Auer et al., for the horizon it is set for."""
    rounds, num_arms = 2000, 5
    best = STATIONARY.max() * rounds
    gamma = math.sqrt(num_arms * math.log(num_arms) / ((math.e - 1) * best))
    reward = mean_reward(
        [STATIONARY] * rounds,
        learning_rate=gamma / num_arms,
        exploration=gamma,
        forgetting=1.0,
        baseline=0.0,
    )
    regret = best - rounds * reward
    assert regret < 2 * math.sqrt((math.e - 1) * best * num_arms * math.log(num_arms))


@pytest.mark.parametrize(
    ("rounds", "forgetting", "at_least"), [(2000, 1.0, 0.74), (2000, 0.98, 0.64)]
)
@pytest.mark.thorough(LONG)
def test_comes_near_the_best_fixed_arm(rounds, forgetting, at_least):
    """The best arm earns 0.8, chance 0.52; who forgets has to go on trying."""
    assert mean_reward([STATIONARY] * rounds, forgetting=forgetting) > at_least


@pytest.mark.thorough(LONG)
def test_forgetting_follows_an_arm_that_changes():
    """Each arm in turn is the best for 250 rounds: a fixed one earns 0.4."""
    chances = np.full((2000, 5), 0.3)
    chances[np.arange(2000), np.arange(2000) // 250 % 5] = 0.8
    follows = mean_reward(chances)
    keeps = mean_reward(chances, forgetting=1.0)
    assert follows > 0.58
    assert follows > keeps + 0.1


def test_moves_bring_a_knob_to_its_best_place():
    """Closed loop: arms down, stay, up; the reward says whether the loss fell."""
    bandit = Bandit([-1, 0, 1], seed=0)
    position, distances = 30, []
    rng = np.random.default_rng(0)
    for _ in range(400):
        before = abs(position)
        position += bandit.arm
        reward = 0.5 + 0.5 * (before - abs(position)) + rng.normal(0, 0.1)
        bandit.update(reward)
        distances.append(abs(position))
    assert np.mean(distances[-200:]) < 8


def test_a_seed_repeats_and_every_arm_is_tried():
    first, second = (Bandit("abc", seed=3) for _ in range(2))
    drawn = [first.update(0.1) for _ in range(100)]
    assert [second.update(0.1) for _ in range(100)] == drawn
    assert set(drawn) == set("abc")
    # However bad, an arm keeps its share of the exploration.
    bandit = Bandit("ab", seed=0)
    for _ in range(500):
        bandit.update(1.0 if bandit.arm == "a" else 0.0)
    assert 0.05 <= bandit.probabilities[1] < 0.06


def test_rewards_out_of_range_are_clipped_and_nan_is_the_worst():
    def exponents(rewards):
        bandit = Bandit("ab", seed=0)
        for reward in rewards:
            bandit.update(reward)
        return bandit.probabilities

    clipped = exponents([1.0, 0.0, 0.0, 1.0])
    np.testing.assert_array_equal(exponents([7.0, -3.0, math.nan, math.inf]), clipped)


def test_rejects_a_single_arm():
    message = "`arms` must be a list of two or more things. Received: arms=[1]."
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        Bandit([1])
