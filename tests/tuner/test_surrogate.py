"""What is expected of configurations, where the answer is known."""

import keras_tuner
import numpy as np

from keras_ext.tuner._encoded_space import EncodedSpace
from keras_ext.tuner._surrogate import _MOST, Row, Surrogate, _few, _normalized


def line():
    hp = keras_tuner.HyperParameters()
    hp.Float("x", 0.0, 1.0)
    return EncodedSpace(hp.space)


def bowl(x, epochs):
    """Least at 0.7; a training of one epoch is 2 above one of 27."""
    return 4 * (x - 0.7) ** 2 + 2 - 2 * np.log(epochs) / np.log(27)


def made(points, epochs):
    rows = [
        Row(np.array([x]), int(e), bowl(x, e))
        for x, e in zip(points, np.broadcast_to(epochs, len(points)), strict=True)
    ]
    surrogate = Surrogate(line(), rows)
    surrogate.fit(None)
    return surrogate


def test_short_trainings_say_where_long_ones_are_good():
    """That those of one epoch are all worse than the long ones is no matter."""
    points = np.linspace(0, 1, 12)
    epochs = np.where(np.arange(12) % 6 == 0, 27, 1)  # the long ones at 0 and 0.55
    surrogate = made(points, epochs)
    places = np.linspace(0, 1, 101)[:, None]
    means, _ = surrogate.predict(places)
    assert abs(places[means.argmin()] - 0.7) < 0.1
    assert np.corrcoef(means, bowl(places[:, 0], 27))[0, 1] > 0.95


def test_the_next_is_not_where_one_is_running():
    surrogate = made(np.array([0.0, 0.2, 0.4, 0.9, 1.0]), 1)
    first = surrogate.candidates(np.random.default_rng(0))[0]
    _, before = surrogate.predict(first[None])
    surrogate.expect([first])
    _, after = surrogate.predict(first[None])
    assert after < before / 2
    again = surrogate.candidates(np.random.default_rng(0))[0]
    assert abs(again[0] - first[0]) > 0.02


def test_a_model_goes_on_with_the_parameters_of_an_earlier_one():
    points = np.linspace(0, 1, 9)
    first = made(points, 1)
    parameters = first.parameters
    rows = [Row(np.array([x]), 1, bowl(x, 1)) for x in points]
    second = Surrogate(line(), rows)
    second.fit(parameters, again=False)
    assert second.parameters == parameters
    assert len(parameters) == second.number_of_parameters
    places = np.linspace(0, 1, 50)[:, None]
    np.testing.assert_allclose(second.predict(places), first.predict(places))


def test_of_many_rows_the_best_half_stays_and_some_of_all_others():
    costs = np.random.default_rng(0).permutation(1000)
    rows = [Row(np.zeros(1), 1, float(cost)) for cost in costs]
    kept = [row.cost for row in _few(rows)]
    assert len(kept) == len(set(kept)) == _MOST
    assert sorted(kept)[: _MOST // 2] == list(range(_MOST // 2))
    assert max(kept) == 999
    assert _few(rows[:_MOST]) == rows[:_MOST]


def test_how_bad_the_worst_are_makes_no_difference():
    costs = np.array([1.0, 2.0, 3.0, 4.0, 1e6])
    found = _normalized(costs)
    np.testing.assert_allclose(found, _normalized(np.array([1.0, 2, 3, 4, 7])))
    assert (np.diff(found) > 0).all()
    np.testing.assert_allclose([found.mean(), found.std()], [0, 1], atol=1e-12)
    assert not _normalized(np.full(3, 5.0)).any()
