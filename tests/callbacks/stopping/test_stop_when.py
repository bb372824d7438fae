"""Members whose wishes are known in every epoch."""

import copy
import re

import keras
import numpy as np
import pytest

from keras_ext.callbacks import (
    DynamicBatchSize,
    GradientNormEarlyStopping,
    PrecheltEarlyStopping,
    StopWhen,
)
from keras_ext.callbacks.stopping._stopping_callback import StoppingCallback
from tests.rewind import rewound

X = np.ones((8, 1), "float32")


class Scripted(StoppingCallback):
    """Speaks for a stop where its text has a 1, against it at 0, else not at all."""

    criterion = "scripted"

    def __init__(self, text, restore_best_weights=False):
        super().__init__(restore_best_weights=restore_best_weights)
        self.text = text

    def measure(self, epoch, logs):
        return {"1": 1.0, "0": 0.0, "n": float("nan"), "-": None}[self.text[epoch]]

    def verdict(self, value):
        return f"{self.text} says so" if value else None


class Asks(keras.callbacks.Callback):
    """Asks for a stop in one epoch only, without more."""

    def __init__(self, epoch, hook="on_epoch_end"):
        super().__init__()

        def ask(now, logs=None):
            if now == epoch:
                self.model.stop_training = True

        setattr(self, hook, ask)


class Grow(keras.callbacks.Callback):
    """The weight is the number of epochs made."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.set_weights([np.full((1, 1), epoch + 1.0)])


@rewound
def make_model():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.set_weights([np.zeros((1, 1))])
    return model


def fit(stop, epochs=8, model=None, **options):
    model = model or make_model()
    history = model.fit(
        X,
        0 * X,
        batch_size=4,
        epochs=epochs,
        callbacks=[Grow(), stop],
        verbose=0,
        **options,
    )
    assert "set_weights" not in vars(model)
    return model, history.history


def weight(model):
    return model.get_weights()[0].item()


TEXTS = ["00111111", "00001000", "01000000"]


@pytest.mark.parametrize(
    ("rule", "votes"),
    [
        ("any", [0, 1]),
        ("vote", [0, 1, 1, 1, 2]),
        ("all", [0, 1, 1, 1, 2, 1, 1, 1]),
    ],
)
def test_counts_the_wishes_that_hold(rule, votes):
    stop = StopWhen(rule, [Scripted(text) for text in TEXTS])
    _, history = fit(stop)
    assert history["stop_votes"] == votes
    if rule == "all":
        assert stop.stopped_epoch is None
        assert stop.stopped_by is None
    else:
        assert stop.stopped_epoch == len(votes) - 1


def test_says_who_stopped():
    stop = StopWhen("all", [Scripted("0011"), Asks(1)])
    fit(stop, 4)
    assert stop.stopped_epoch == 2
    assert stop.stopped_by == "2 of 2 wanted to stop: 0011 says so; Asks"


@pytest.mark.parametrize("silent", ["-", "n"])
def test_a_wish_outlasts_epochs_without_a_check(silent):
    stop = StopWhen("all", [Scripted(f"01{silent}{silent}0000"), Scripted("00010000")])
    _, history = fit(stop)
    assert history["stop_votes"] == [0, 1, 1, 2]


def test_a_wish_of_a_stranger_is_not_taken_back():
    stop = StopWhen("all", [Asks(1), Scripted("00000100")])
    fit(stop)
    assert stop.stopped_epoch == 5


def test_early_stopping_of_keras_takes_its_wish_back():
    # Its patience is over in epoch 2; in epoch 3 the loss falls again.
    class Losses(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["made_up"] = [5.0, 6.0, 6.0, 4.0, 5.0, 5.0, 5.0, 5.0][epoch]

    member = keras.callbacks.EarlyStopping("made_up", patience=2, mode="min")
    stop = StopWhen("all", [Losses(), member, Asks(0)])
    _, history = fit(stop)
    assert history["stop_votes"] == [1, 1, 2, 1, 1, 2, 2, 2]


def test_start_from_epoch():
    stop = StopWhen("any", [Scripted("11111111")], start_from_epoch=4)
    fit(stop)
    assert stop.stopped_epoch == 4


def test_prints_one_line_and_lets_the_members_print_none(capsys):
    members = [Scripted("0011", restore_best_weights=True), Asks(1)]
    members.append(keras.callbacks.EarlyStopping("loss", verbose=1))
    fit(StopWhen("any", members), 4)
    line = "Epoch 2: early stopping by StopWhen: 2 of 3 wanted to stop: Asks; Early"
    assert capsys.readouterr().out == line + "Stopping.\n"
    assert [member.verbose for member in members[::2]] == [1, 1]
    fit(StopWhen("any", members, verbose=0), 4)
    assert capsys.readouterr().out == ""


def test_a_wish_within_an_epoch():
    stop = StopWhen("any", [Asks(0, "on_train_batch_end"), Scripted("00000000")])
    fit(stop)
    assert stop.stopped_epoch == 0


def test_has_the_hooks_that_its_members_have():
    with_hook = StopWhen("any", [Asks(0, "on_train_batch_end"), Scripted("0")])
    without = StopWhen("any", [Scripted("0")])
    default = keras.callbacks.Callback.on_train_batch_end
    assert without.on_train_batch_end.__func__ is default
    assert getattr(with_hook.on_train_batch_end, "__func__", None) is not default


def test_who_stops_training_outside_stops_it():
    stop = StopWhen("all", [Scripted("00000000"), Scripted("00000000")])
    model = make_model()
    history = model.fit(X, 0 * X, epochs=5, callbacks=[Asks(1), stop], verbose=0)
    assert history.epoch == [0, 1]
    assert stop.stopped_epoch is None


def test_restores_what_the_first_member_wants_that_wanted_to_stop():
    members = [
        Scripted("00000000", restore_best_weights=True),
        Scripted("00100000"),
        Scripted("00011111", restore_best_weights=True),
        Scripted("00001111", restore_best_weights=True),
    ]
    model, _ = fit(StopWhen("vote", [*members, Asks(5)]))
    # The third one: its wish began in epoch 3, when the weight was 4.
    assert weight(model) == 4.0


@pytest.mark.parametrize("rule", ["any", "all"])
def test_early_stopping_of_keras_restores_through_the_combination(rule):
    class Losses(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["made_up"] = abs(epoch - 2.0)

    member = keras.callbacks.EarlyStopping(
        "made_up", patience=1, mode="min", restore_best_weights=True
    )
    stop = StopWhen(rule, [member, Scripted("00000010")])
    model = make_model()
    history = model.fit(
        X, 0 * X, epochs=8, callbacks=[Losses(), Grow(), stop], verbose=0
    )
    assert history.epoch[-1] == (3 if rule == "any" else 6)
    assert weight(model) == 3.0


def test_without_a_wish_to_restore_the_last_weights_stay():
    model, _ = fit(StopWhen("any", [Scripted("000100")]))
    assert weight(model) == 4.0


def test_what_is_left_of_an_update_does_not_move_restored_weights():
    model = make_model()
    model.optimizer.learning_rate = 0.1
    stop = Scripted("01", restore_best_weights=True)
    # Three batches a pass: one is left over after two epochs of two an update.
    x = np.ones((12, 1), "float32")
    grow = DynamicBatchSize([(0, 4)], batch_size=4)
    model.fit(
        x, 0 * x, batch_size=4, epochs=2, callbacks=[Grow(), stop, grow], verbose=0
    )
    assert weight(model) == 2.0


def test_combinations_of_combinations():
    inner = StopWhen("all", [Scripted("00110000", True), Scripted("00010000")])
    stop = StopWhen("any", [inner, Scripted("00000000")])
    model, _ = fit(stop)
    assert inner.stopped_epoch == stop.stopped_epoch == 3
    assert "2 of 2 wanted to stop" in stop.stopped_by
    assert weight(model) == 3.0


def test_a_combination_takes_its_wish_back():
    inner = StopWhen("any", [Scripted("01000000"), Scripted("00001000")])
    _, history = fit(StopWhen("all", [inner, Scripted("00110000")]))
    assert history["stop_votes"] == [0, 1, 1, 1, 1, 0, 0, 0]


def test_members_that_need_the_gradient():
    members = [
        GradientNormEarlyStopping(1e9, relative=False, patience=1, start_from_epoch=2),
        PrecheltEarlyStopping("gl", threshold=1e-9),
    ]
    stop = StopWhen("all", members)
    model = make_model()
    model.set_weights([np.full((1, 1), 0.5)])
    optimizer = model.optimizer
    _, history = fit(stop, model=model, validation_data=(X, 0 * X))
    assert stop.stopped_epoch == 2
    assert {"mean_gradient_norm", "generalization_loss", "stop_votes"} <= history.keys()
    assert model.optimizer is optimizer


def test_a_second_fit_starts_from_nothing():
    stop = StopWhen("any", [Scripted("0001"), Asks(5)])
    fit(stop, 4)
    stop.callbacks[0].text = "0000"
    _, history = fit(stop, 4)
    assert history["stop_votes"] == [0] * 4
    assert stop.stopped_epoch is None


@pytest.mark.parametrize("used", [False, True])
def test_copies_are_independent(used):
    stop = StopWhen("any", [Scripted("01"), keras.callbacks.EarlyStopping("loss")])
    if used:
        fit(stop, 2)
    copied = copy.deepcopy(stop)
    assert copied.callbacks[0] is not stop.callbacks[0]
    assert copied.callbacks[1] is not stop.callbacks[1]
    _, history = fit(copied, 2)
    assert history["stop_votes"] == [0, 1 + 1]


def test_evaluate_and_predict_call_the_members():
    class Counts(keras.callbacks.Callback):
        calls = 0

        def on_test_begin(self, logs=None):
            self.calls += 1

        on_predict_end = on_test_begin

    member = Counts()
    stop = StopWhen("any", [member])
    model = make_model()
    model.evaluate(X, X, callbacks=[stop], verbose=0)
    model.predict(X, callbacks=[stop], verbose=0)
    assert member.calls == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "some"}, '`rule` must be "any", "all" or "vote"'),
        ({"callbacks": []}, "`callbacks` must be a list of one callback or more"),
        ({"callbacks": ["early"]}, "`callbacks` must be a list of one callback"),
        ({"start_from_epoch": -1}, "`start_from_epoch` must be an integer >= 0"),
        ({"verbose": 2}, "`verbose` must be an integer in [0, 1]"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        StopWhen(**{"rule": "any", "callbacks": [Scripted("0")], **arguments})


def test_members_correct_the_loss_of_an_epoch_that_was_left_out():
    model = make_model()
    stop = StopWhen("any", [GradientNormEarlyStopping(verbose=0)], verbose=0)
    history = model.fit(X * np.nan, X, callbacks=[stop], verbose=0).history
    assert np.isnan(history["loss"]).all()
