import pickle

import numpy as np

from keras_ext.callbacks.schedules._rate_policy import (
    FEATURES,
    HIDDEN,
    SIZE,
    Seen,
    learned_parameters,
    rate_policy,
)

QUIET = np.array([False])


def test_many_networks_at_once_are_each_of_them():
    rng = np.random.default_rng(0)
    parameters, features = rng.normal(size=(3, SIZE)), rng.normal(size=(3, FEATURES))
    together = rate_policy(parameters)(features)
    n = FEATURES * HIDDEN
    for p, x, found in zip(parameters, features, together, strict=True):
        hidden = np.tanh(x @ p[:n].reshape(FEATURES, HIDDEN) + p[n : n + HIDDEN])
        np.testing.assert_allclose(found, np.tanh(hidden @ p[n + HIDDEN : -1] + p[-1]))


def test_it_sees_falls_and_the_distance_to_the_best_and_no_unit():
    """A loss in other units gives the same features."""
    found = []
    for shift in (0.0, 7.0):
        seen = Seen(np.array([shift]))
        for loss in (-0.1, -0.3, 0.1):
            row = seen.features(np.array([shift + loss]), QUIET, np.zeros(1))
        found.append(row)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    assert row[0, 0] < 0  # it rose
    np.testing.assert_allclose(row[0, 3], 3 * 0.4)


def test_what_was_learned_raises_a_rate_that_is_too_small_and_lowers_a_burst():
    move, seen = rate_policy(learned_parameters()), Seen(np.zeros(1))
    assert learned_parameters().shape == (SIZE,)
    slow = [
        move(seen.features(np.array([-0.001 * t]), QUIET, np.zeros(1)))[0]
        for t in range(1, 11)
    ]
    assert np.mean(slow) > 0.1


def test_it_can_be_pickled_with_its_callback():
    policy = rate_policy(learned_parameters())
    features = np.ones((2, FEATURES))
    again = pickle.loads(pickle.dumps(policy))
    np.testing.assert_array_equal(again(features), policy(features))
