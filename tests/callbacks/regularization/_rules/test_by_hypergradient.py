import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks.regularization._rules import Sensed
from tests.callbacks.regularization.perceptron import adapt, plain_model

CHOSEN = ["kernel_regularizer/l2", "weight_decay"]


@pytest.fixture
def rule():
    model = plain_model()
    callback = adapt("hypergradient", include=CHOSEN)
    callback.set_model(model)
    callback.on_train_begin()
    yield callback._rule
    kx.detach(model)


def sensed(warming_up=False):
    return Sensed(0.1, 0.2, 0.3, warming_up)


def test_each_moves_against_the_slope_of_the_validation_loss(rule):
    decision = rule.decide(sensed())
    slopes = decision.details["slopes"]
    assert list(slopes) == list(rule.knobs.live)
    assert len(slopes) == 2
    moves = decision.offsets - rule.knobs.offsets
    np.testing.assert_array_equal(np.sign(moves), -np.sign(list(slopes.values())))
    assert np.all(np.abs(moves) <= 0.4)
    assert all(
        f"{path} {slope:+.1e}" in decision.note for path, slope in slopes.items()
    )


def test_nothing_is_measured_while_warming_up(rule):
    rule._probe = None  # would fail
    assert rule.decide(sensed(warming_up=True)).offsets is None
