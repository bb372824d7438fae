import copy

import keras
import matplotlib as mpl
import numpy as np
import pytest

import keras_ext as kx
from benchmarks._data import digits
from keras_ext.callbacks import AdaptiveRegularization
from tests.thorough import LONG, MATRIX

mpl.use("agg")
X, LABELS = digits()
Y = keras.utils.to_categorical(LABELS)
TRAIN, VALIDATION = (X[:150], Y[:150]), (X[150:450], Y[150:450])
PATHS = [
    "hidden/kernel_regularizer/l2",
    "dropout/rate",
    "optimizer/weight_decay",
    "loss/label_smoothing",
]


def make_model(l2=1e-3, rate=0.1, decay=0.01, smoothing=0.02, width=32):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(
                width,
                "relu",
                kernel_regularizer=keras.regularizers.L2(l2),
                name="hidden",
            ),
            keras.layers.Dropout(rate, name="dropout"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(10, name="out"),
        ]
    )
    model.compile(
        keras.optimizers.AdamW(3e-3, weight_decay=decay),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=smoothing
        ),
    )
    return model


class Up:
    """A controller that wants more, by as much as it was told."""

    def update(self, gap):
        return gap


class Plant(AdaptiveRegularization):
    """Measures a simulated training in place of a real one."""

    def __init__(self, losses, **options):
        super().__init__(TRAIN, VALIDATION, **options)
        self.losses = losses

    def _measure(self):
        return self.losses(float(np.mean(self._knobs.offsets)), len(self.decisions))


def fit(model, callback, epochs=3, **options):
    options = {"epochs": epochs, "callbacks": [callback], "verbose": 0, **options}
    return model.fit(*TRAIN, **options).history


def simulate(losses, epochs, **options):
    callback = Plant(losses, **{"warmup_epochs": 0, "rule": "gap", **options})
    callbacks = keras.callbacks.CallbackList(
        [callback], model=make_model(), epochs=epochs
    )
    callbacks.on_train_begin()
    for epoch in range(epochs):
        callbacks.on_epoch_begin(epoch)
        callbacks.on_epoch_end(epoch, {})
    callbacks.on_train_end()
    return callback.decisions


def test_everything_follows_the_strength_on_its_scale():
    callback = AdaptiveRegularization(TRAIN, VALIDATION, warmup_epochs=0)
    model = make_model()
    callback.set_model(model)
    callback.on_train_begin()
    first = dict(zip(PATHS, (1e-3, 0.1, 0.01, 0.02), strict=True))
    assert callback._knobs.values() == pytest.approx(first, rel=1e-5)
    callback._knobs.to(1.0)

    def odds(rate):
        return np.e * rate / (1 + (np.e - 1) * rate)

    expected = (1e-3 * np.e, odds(0.1), 0.01 * np.e, odds(0.02))
    moved = dict(zip(PATHS, expected, strict=True))
    assert callback._knobs.values() == pytest.approx(moved, rel=1e-5)
    callback._knobs.to(50.0)
    values = callback._knobs.values()
    assert (values["dropout/rate"], values["loss/label_smoothing"]) == (0.6, 0.3)
    callback._knobs.to(-50.0)
    assert set(callback._knobs.values().values()) == {0.0}
    callback._knobs.to(0.0)
    assert callback._knobs.values() == pytest.approx(first, rel=1e-5)
    callback.on_train_end()


def test_what_begins_at_zero_can_be_raised():
    callback = AdaptiveRegularization(TRAIN, VALIDATION)
    model = make_model(0.0, 0.0, 0.0, 0.0)
    callback.set_model(model)
    callback._knobs.to(0.0)
    assert set(callback._knobs.values().values()) == {0.0}
    callback._knobs.to(2.0)
    assert all(value > 0 for value in callback._knobs.values().values())
    kx.detach(model)


def test_losses_are_measured_without_what_regularization_adds():
    model = make_model(l2=1.0, smoothing=0.2)
    callback = AdaptiveRegularization(TRAIN, VALIDATION, warmup_epochs=9)
    fit(model, callback, epochs=1)
    plain = keras.losses.CategoricalCrossentropy(from_logits=True)
    row = callback.decisions[0]
    validation = float(plain(VALIDATION[1], model(VALIDATION[0])))
    training = float(plain(TRAIN[1], model(TRAIN[0])))
    assert row["validation_loss"] == pytest.approx(validation, rel=1e-4)
    assert row["training_loss"] == pytest.approx(training, rel=1e-4)
    assert row["gap"] == pytest.approx((validation - training) / validation, rel=1e-3)
    assert model.evaluate(*TRAIN, verbose=0) > training + 1
    # A second `fit` has new live values, and measures with those.
    fit(model, callback, epochs=1)
    validation = float(plain(VALIDATION[1], model(VALIDATION[0])))
    assert callback.decisions[0]["validation_loss"] == pytest.approx(validation, 1e-4)


def test_what_was_taken_out_of_the_loss_comes_back_when_measuring_fails():
    class Fails(keras.utils.PyDataset):
        asked = 0

        def __len__(self):
            return 1

        def __getitem__(self, index):
            Fails.asked += 1
            if Fails.asked > 1:
                raise OSError("The disk is gone.")
            return VALIDATION

    model = make_model(l2=0.5, smoothing=0.25)
    callback = AdaptiveRegularization(TRAIN, Fails(), rule="gap", target_gap=0.0)
    with pytest.raises(OSError, match="disk is gone"):
        fit(model, callback)
    assert model.get_layer("hidden").kernel_regularizer.l2 == 0.5
    assert model.loss.label_smoothing == 0.25


@pytest.mark.thorough(LONG)
def test_measuring_changes_nothing_about_the_training():
    weights = []
    for with_callback in (True, False):
        model = make_model()
        callback = (
            AdaptiveRegularization(TRAIN, VALIDATION, warmup_epochs=9)
            if with_callback
            # What is live has a kernel of its own, with other random numbers.
            else kx.callbacks.HyperparameterScheduler({"dropout/rate": [(0, 0.1)]})
        )
        fit(model, callback)
        weights.append(model.get_weights())
    for ours, plain in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.thorough(LONG)
def test_regularizes_a_model_that_overfits_and_says_so():
    model = make_model(width=64)
    callback = AdaptiveRegularization(TRAIN, VALIDATION, target_gap=0.1, rule="gap")
    history = fit(model, callback, epochs=40, batch_size=8)
    assert history["regularization_strength"][-1] > 0.5
    assert history["dropout/rate"][-1] > 0.15
    assert history["optimizer/weight_decay"][-1] > 0.015
    # The model has the last values, as plain numbers.
    assert type(model.get_layer("dropout").rate) is float
    last = callback.decisions[-1]["values"]
    assert model.get_layer("dropout").rate == pytest.approx(last["dropout/rate"])
    assert model.optimizer.weight_decay == pytest.approx(last["optimizer/weight_decay"])
    lines = callback.report().splitlines()
    assert len(lines) == 41
    assert "; warm-up; strength +0.00" in lines[0]
    moved = [line for line in lines if "; gap; " in line]
    assert all(path in moved[-1] for path in PATHS)
    figure = callback.plot()
    assert mpl.pyplot.get_fignums() == []
    drawn = {line.get_label(): line.get_ydata() for line in figure.axes[2].lines}
    assert set(drawn) == set(PATHS)
    np.testing.assert_allclose(drawn["dropout/rate"], history["dropout/rate"])


@pytest.mark.parametrize("effect", [0.1, 0.2])
@pytest.mark.thorough(LONG)
def test_closed_loop_of_the_gap(effect):
    """The gap at rest is 0.6 - effect * strength; half the way in every epoch."""
    gap = [0.6]

    def losses(strength, epoch):
        gap.append(gap[-1] + 0.5 * (0.6 - effect * strength - gap[-1]))
        return 0.1, 0.1 / (1.0 - gap[-1])

    rows = simulate(losses, 60)
    ends = [row["strength"] for row in rows[-10:]]
    assert np.abs(np.array(gap[-10:]) - 0.3).max() < 0.025
    assert np.ptp(ends) < 0.05
    assert 0 < ends[-1] < 4


def test_a_controller_moves_the_one_strength():
    rows = simulate(lambda strength, epoch: (0.6, 1.0), 3, controller=Up(), rule=None)
    assert [row["change"] for row in rows] == pytest.approx([0.4, 0.4, 0.4])
    assert rows[-1]["strength"] == pytest.approx(1.2)


def test_a_controller_that_returns_no_number_is_an_error():
    class Broken:
        def update(self, gap):
            return float("nan")

    with pytest.raises(ValueError, match=r"`Broken.update\(0.4\)` must be a finite"):
        simulate(lambda strength, epoch: (0.6, 1.0), 1, controller=Broken(), rule=None)


def test_without_data_it_measures_on_that_of_fit():
    model = make_model(l2=1.0)
    callback = AdaptiveRegularization(warmup_epochs=1, seed=0)
    data = (X[:450], Y[:450])
    history = model.fit(
        *data, validation_split=2 / 3, epochs=2, callbacks=[callback], verbose=0
    ).history
    row = callback.decisions[-1]
    assert set(row["slopes"]) == set(PATHS)
    # Those of `fit` have the penalty in them.
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    validation = float(loss(VALIDATION[1], model(VALIDATION[0])))
    training = float(loss(TRAIN[1], model(TRAIN[0])))
    assert row["validation_loss"] == pytest.approx(validation, rel=1e-4)
    assert row["training_loss"] == pytest.approx(training, rel=1e-4)
    assert history["val_loss"][-1] > validation + 1
    with pytest.raises(ValueError, match=r"`validation_data` must be data, here or as"):
        model.fit(*TRAIN, callbacks=[AdaptiveRegularization()], verbose=0)


def test_the_strength_stays_within_its_span():
    rows = simulate(lambda strength, epoch: (0.01, 1.0), 12, span=2.0)
    strengths = [row["strength"] for row in rows]
    assert max(strengths) == strengths[-1] == 2.0
    assert rows[-1]["change"] == 0


def test_guards_hold():
    falls = simulate(lambda strength, epoch: (0.01, 1.0 - 0.1 * epoch), 5)
    assert {row["reason"] for row in falls[1:]} == {"validation improves"}
    assert falls[-1]["strength"] == falls[0]["strength"]
    suffers = simulate(lambda s, epoch: (0.1 + 0.1 * max(s, 0.0), 1.0), 20)
    assert "underfit" in {row["reason"] for row in suffers}
    assert max(row["strength"] for row in suffers) < 1.0


def test_nan_does_not_raise():
    rows = simulate(lambda strength, epoch: (np.nan, 1.0), 3)
    assert [row["strength"] for row in rows] == [0.0, 0.0, 0.0]


@pytest.mark.thorough(LONG)
def test_include_and_exclude():
    callback = AdaptiveRegularization(
        TRAIN, VALIDATION, include=["rate", "decay"], exclude="dropout"
    )
    fit(make_model(), callback, epochs=1)
    assert list(callback.decisions[0]["values"]) == ["optimizer/weight_decay"]


@pytest.mark.thorough(MATRIX)
def test_two_replicas_and_a_copy(strategies):
    callback = AdaptiveRegularization(TRAIN, VALIDATION, warmup_epochs=0)
    fit(make_model(), callback, epochs=1)
    copied = copy.deepcopy(callback)
    with strategies(2).scope():
        model = make_model()
    history = fit(model, copied, epochs=2)
    assert set(PATHS) <= set(history)
    assert history["regularization_strength"][-1] != 0


def test_needs_something_to_move():
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`model` must be one with something that"):
        fit(model, AdaptiveRegularization(TRAIN, VALIDATION))
    message = "`include` must be such that some hyperparameter is left of .*dropout/rat"
    with pytest.raises(ValueError, match=message):
        fit(make_model(), AdaptiveRegularization(TRAIN, VALIDATION, include="l3"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_data": 1}, "`train_data` must be a tuple"),
        ({"validation_data": 1}, "`validation_data` must be a tuple"),
        ({"controller": kx.controllers.PI}, "`controller` must be an object with a"),
        ({"controller": Up(), "rule": "population"}, '`rule` must be "gap", if there'),
        ({"include": 1}, "`include` must be a regular expression"),
        ({"exclude": 1}, "`exclude` must be a regular expression"),
        ({"target_gap": 1.0}, r"`target_gap` must be a number in \[0, 1\)"),
        ({"span": 0}, "`span` must be a number > 0"),
        ({"warmup_epochs": -1}, "`warmup_epochs` must be an integer >= 0"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    data = {"train_data": TRAIN, "validation_data": VALIDATION}
    with pytest.raises(ValueError, match=message):
        AdaptiveRegularization(**{**data, **arguments})
