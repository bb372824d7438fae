import math

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks.regularization._rules import Sensed
from tests.callbacks.regularization.perceptron import (
    KEYS,
    START,
    TRAIN,
    adapt,
    fit,
    plain_model,
    validation_loss,
)
from tests.thorough import LONG


@pytest.mark.thorough(LONG)
def test_members_are_trained_as_if_alone():
    """Two members without a contest are two trainings, an epoch of each in turn."""
    model = plain_model(keras.optimizers.Adam)
    callback = adapt("population", members=2, warmup_epochs=9)
    fit(model, callback, epochs=6, shuffle=False)
    rows = callback.decisions
    assert [row["member"] for row in rows] == [0, 1, 0, 1, 0, 1]
    alone = []
    for values in (START, rows[0]["values"]):
        values = {KEYS.get(path, path): value for path, value in values.items()}
        model_alone = plain_model(keras.optimizers.Adam, **values)
        losses = []
        for _ in range(3):
            model_alone.fit(*TRAIN, epochs=1, shuffle=False, verbose=0)
            losses.append(validation_loss(model_alone))
        alone.append((losses, model_alone))
    for member, (losses, _) in enumerate(alone):
        ours = [row["validation_loss"] for row in rows[member::2]]
        np.testing.assert_allclose(ours, losses, rtol=1e-4)
    # The better one is left behind.
    best = min(alone, key=lambda pair: pair[0][-1])[1]
    for ours, expected in zip(model.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)
    assert model.optimizer.weight_decay == pytest.approx(best.optimizer.weight_decay)
    assert int(model.optimizer.iterations) == int(best.optimizer.iterations)


def test_the_worst_member_goes_on_as_the_best():
    callback = adapt("population", members=4)
    model = plain_model()
    rule = start(callback, model)
    for loss in (3.0, 1.0, 2.0, 4.0):
        rule.before_epoch()
        model.trainable_variables[1].assign([loss] * 5)
        row = decide(rule, loss)
    assert row.note == "member 3, 3 goes on as 1"
    first = [state[1][0] for state in rule._states]
    assert first == [3.0, 1.0, 2.0, 1.0]
    best, copied = (rule._population.settings[i] for i in (1, 3))
    ratios = {round(copied[path] / best[path], 3) for path in best}
    assert ratios <= {0.6, 1.0, 1.6}
    rule.end()
    np.testing.assert_array_equal(model.trainable_variables[1], [1.0] * 5)
    kx.detach(model)


def test_a_member_that_has_no_loss_is_not_left_behind():
    callback = adapt("population", members=2)
    model = plain_model()
    rule = start(callback, model)
    for loss in (math.nan, 2.0, math.nan):
        rule.before_epoch()
        model.trainable_variables[1].assign([loss] * 5)
        decide(rule, loss)
    rule.end()
    np.testing.assert_array_equal(model.trainable_variables[1], [2.0] * 5)
    kx.detach(model)


def start(callback, model):
    callback.set_model(model)
    callback.on_train_begin()
    return callback._rule


def decide(rule, validation_loss, warming_up=False):
    return rule.decide(Sensed(0.1, validation_loss, 0.3, warming_up))
