"""By hand: a weight that begins at 0, plain SGD, and gradients that are constants."""

import numpy as np

from keras_ext import HyperVariable
from keras_ext._engine._elastic_updates import ElasticUpdates
from tests._engine.own_steps import OwnSteps, close_to


class Setting(OwnSteps):
    def __init__(self, strategy):
        steps = HyperVariable(1, "n", bounds=(1, 8), dtype="int32")
        elasticity = HyperVariable(0.5, "elasticity")
        super().__init__(
            strategy, lambda scope: ElasticUpdates(scope, steps, elasticity)
        )


def test_replicas_are_tied_to_a_center_that_follows_them(strategies):
    setting = Setting(strategies(2))
    updates = setting.updates
    setting.step(1, 3)
    assert setting.weights == close_to(-0.1, -0.3)
    # The second step begins with a pull, by a quarter of the way to the center at 0.
    # The center moves by half of the mean of the distances.
    setting.step(1, 3)
    center = -0.5 * 0.2
    alone = [-0.075 - 0.1, -0.225 - 0.3]
    assert setting.weights == close_to(*alone)
    assert updates.synchronizations == 1
    kept = updates.get_state()
    # Who looks sees the center, and the replicas go on from where they were.
    updates.show()
    assert setting.weights == close_to(center, center)
    shown = updates.get_state()
    updates.hide()
    assert setting.weights == close_to(*alone)
    for state in (kept, shown):
        assert np.squeeze(state["replicas"][0]).tolist() == close_to(*alone)
    updates.finish()
    assert setting.weights == close_to(center, center)


def test_one_replica_trains_as_without_it(strategies):
    setting = Setting(strategies(1))
    setting.step(1)
    setting.step(3)
    assert setting.weights == close_to(-0.4)
    setting.updates.show()
    assert setting.updates.get_state()["replicas"][0] == close_to(-0.4)
    setting.updates.hide()
    setting.updates.finish()
    assert setting.weights == close_to(-0.4)


def test_another_number_of_replicas_begins_at_the_center(strategies):
    """Of a state of two, one takes the center, which the loaded weights are."""
    setting = Setting(strategies(1))
    state = setting.updates.get_state()
    (alone,) = state["replicas"][0]
    setting.updates.set_state({**state, "replicas": [[alone + 2]]})
    assert setting.weights == [2.0]
    setting.model.set_weights([np.array([[0.5]])])
    setting.updates.set_state({**state, "replicas": [[alone - 1, alone + 1]]})
    assert setting.weights == [0.5]
    assert float(np.squeeze(setting.updates._state.centers[0])) == 0.5
