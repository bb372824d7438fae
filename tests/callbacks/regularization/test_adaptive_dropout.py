import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from benchmarks._data import digits
from keras_ext.callbacks import AdaptiveDropout
from tests.thorough import LONG, MATRIX

X, Y = digits()
TRAIN, VALIDATION = (X[:150], Y[:150]), (X[150:450], Y[150:450])


def make_model(*dropouts):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((64,))]
    for dropout in dropouts:
        layers += [keras.layers.Dense(64, "relu"), dropout]
    model = keras.Sequential([*layers, keras.layers.Dense(10)])
    model.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def identity():
    """A layer that changes nothing, but has a weight to train."""
    return keras.layers.Dense(8, use_bias=False, kernel_initializer="identity")


def fit(model, callback, epochs=8, **options):
    return model.fit(
        *TRAIN, epochs=epochs, callbacks=[callback], verbose=0, **options
    ).history


@pytest.mark.thorough(LONG)
def test_raises_the_rate_of_a_model_that_overfits():
    model = make_model(keras.layers.Dropout(0.1), keras.layers.Dropout(0.3))
    callback = AdaptiveDropout(TRAIN, VALIDATION, target_gap=0.1, max_rate=0.9)
    history = fit(model, callback, epochs=25)
    assert history["overfit_gap"][-1] > 0.3
    assert (
        history["dropout_rate"][-1] > history["dropout_rate"][0] == pytest.approx(0.2)
    )
    low, high = (layer.rate for layer in model.layers if hasattr(layer, "rate"))
    assert 0.1 < low < high <= 0.9


@pytest.mark.thorough(LONG)
def test_lowers_the_rate_of_a_model_that_does_not():
    """Validated on what it is trained on, a model never overfits."""
    model = make_model(keras.layers.Dropout(0.4))
    callback = AdaptiveDropout(TRAIN, TRAIN, target_gap=0.5)
    history = fit(model, callback, epochs=20)
    assert history["overfit_gap"] == pytest.approx([0.0] * 20, abs=1e-6)
    assert history["dropout_rate"][-1] == model.layers[1].rate == 0.0


MAKE = {
    "zero": lambda: keras.layers.Dropout(0.0, seed=0),
    "noise_shape": lambda: keras.layers.Dropout(0.3, noise_shape=(None, 1), seed=0),
    "ours": lambda: kx.layers.LiveDropout(0.0, seed=0),
}


@pytest.mark.parametrize(
    ("jit_compile", "name"),
    [
        *((False, name) for name in MAKE),
        (True, "zero"),
        pytest.param(True, "noise_shape", marks=pytest.mark.thorough(MATRIX)),
        pytest.param(True, "ours", marks=pytest.mark.thorough(MATRIX)),
    ],
)
@pytest.mark.thorough(LONG)
def test_the_running_step_uses_the_new_rate(jit_compile, name):
    """At a rate of 0.9 the mean square of the output is ten times as large."""

    class Raise(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            (rate,) = kx.hyper_variables(self.model).values()
            rate.assign(0.0 if epoch < 2 else 0.9)

    x = np.ones((4000, 8), "float32")
    inputs = keras.Input((8,))
    outputs = identity()(MAKE[name]()(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=jit_compile)
    callback = AdaptiveDropout((x[:8], x[:8]), (x[:8], x[:8]), warmup_epochs=99)
    history = model.fit(
        x, 0 * x, batch_size=2000, epochs=4, callbacks=[callback, Raise()], verbose=0
    ).history
    assert history["loss"][:2] == pytest.approx([1.0, 1.0])
    # A mean over 4000 rows of 8, or of one value a row: noise of a few percent.
    assert history["loss"][2:] == pytest.approx([10.0, 10.0], rel=0.3)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras.layers.SpatialDropout1D(0.5), (2, 6, 4)),
        (keras.layers.SpatialDropout2D(0.5), (2, 3, 3, 4)),
        (keras.layers.SpatialDropout3D(0.5), (2, 2, 3, 3, 4)),
        (
            keras.layers.SpatialDropout2D(0.5, data_format="channels_first"),
            (2, 4, 3, 3),
        ),
    ],
    ids=["1d", "2d", "3d", "channels first"],
)
def test_spatial_dropout_drops_whole_channels(layer, shape):
    inputs = keras.Input(shape[1:])
    model = keras.Model(inputs, layer(inputs))
    model.compile("sgd", "mse")
    callback = AdaptiveDropout((np.ones(shape),) * 2, (np.ones(shape),) * 2)
    callback.set_model(model)
    layer.seed_generator.state.assign([0, 0])  # made when this file was imported
    outputs = np.asarray(layer(np.ones(shape, "float32"), training=True))
    channel_axis = 1 if getattr(layer, "data_format", "") == "channels_first" else -1
    channels = np.moveaxis(outputs, channel_axis, 1).reshape(2, 4, -1)
    assert set(np.unique(channels)) == {0.0, 2.0}
    assert (channels == channels[..., :1]).all()
    callback.on_train_begin()
    callback.on_train_end()
    assert "call" not in vars(layer)


@pytest.mark.thorough(LONG)
def test_a_rate_of_zero_can_be_raised_saved_and_trained_on(tmp_path):
    model = make_model(keras.layers.Dropout(0.0))
    controller = Scripted([0.0, 0.0, 9.0])
    callback = AdaptiveDropout(TRAIN, VALIDATION, controller=controller, guards=False)
    fit(model, callback, epochs=5)
    assert model.layers[1].rate == 0.6
    fit(model, keras.callbacks.Callback(), epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[1].rate == 0.6
    np.testing.assert_array_equal(loaded(X[:9]), model(X[:9]))
    fit(loaded, keras.callbacks.Callback(), epochs=1)


class Scripted:
    """A controller that returns what it is told, and remembers what it was asked."""

    def __init__(self, changes):
        self.changes = list(changes)

    def update(self, gap):
        return self.changes.pop(0) if self.changes else 0.0


def test_moves_on_the_logit_scale_after_the_warmup():
    model = make_model(keras.layers.Dropout(0.1), keras.layers.Dropout(0.5))
    callback = AdaptiveDropout(
        TRAIN,
        VALIDATION,
        warmup_epochs=1,
        max_rate=0.6,
        controller=Scripted([0.3, 5, -50]),
        guards=False,
    )
    history = fit(model, callback, epochs=4)

    def moved(rate, change):
        logit = np.log(rate / (1 - rate)) + change
        return 1 / (1 + np.exp(-logit))

    expected = [0.3, (moved(0.1, 0.3) + moved(0.5, 0.3)) / 2, 0.6, 0.0]
    assert history["dropout_rate"] == pytest.approx(expected, abs=1e-6)


def test_gap_is_that_of_evaluate():
    model = make_model(keras.layers.Dropout(0.2))
    model.layers[0].kernel_regularizer = keras.regularizers.L2(1e-3)
    callback = AdaptiveDropout(TRAIN, (X[150:300], Y[150:300]), warmup_epochs=99)
    history = fit(model, callback, epochs=1)
    train = model.evaluate(*TRAIN, verbose=0)
    validation = model.evaluate(X[150:300], Y[150:300], verbose=0)
    expected = (validation - train) / validation
    assert history["overfit_gap"][0] == pytest.approx(expected, rel=1e-4)


def test_include_and_exclude_choose_layers():
    layers = [keras.layers.Dropout(0.2, name=name) for name in ("first", "second")]
    model = make_model(*layers)
    callback = AdaptiveDropout(
        TRAIN,
        VALIDATION,
        warmup_epochs=0,
        controller=Scripted([1.0]),
        guards=False,
        exclude="first",
    )
    fit(model, callback, epochs=1)
    assert layers[0].rate == 0.2
    assert layers[1].rate > 0.3


def test_layers_are_chosen_by_their_path_in_the_model():
    """The inner ones were built first, and have the same names for Keras."""

    def block(name):
        layers = [keras.layers.Dense(8), keras.layers.Dropout(0.2, name="drop")]
        return keras.Sequential([keras.Input((8,)), *layers], name=name)

    first, second = block("first"), block("second")
    inputs = keras.Input((8,))
    model = keras.Model(inputs, second(first(inputs)))
    model.compile("sgd", "mse")
    data = (np.ones((8, 8)),) * 2
    options = {"warmup_epochs": 0, "controller": Scripted([1.0]), "guards": False}
    callback = AdaptiveDropout(data, data, **options, include="^second/drop$")
    history = model.fit(*data, callbacks=[callback], verbose=0).history
    assert first.layers[1].rate == 0.2
    assert history["dropout_rate"] == [pytest.approx(second.layers[1].rate)]
    assert second.layers[1].rate > 0.3


def test_attention_is_left_alone():
    inputs = keras.Input((4, 8))
    attention = keras.layers.MultiHeadAttention(2, 4, dropout=0.1)
    x = keras.layers.Dropout(0.2)(attention(inputs, inputs))
    model = keras.Model(inputs, x)
    model.compile("sgd", "mse")
    data = (np.ones((8, 4, 8)),) * 2
    callback = AdaptiveDropout(
        data, data, warmup_epochs=0, controller=Scripted([1.0]), guards=False
    )
    model.fit(*data, callbacks=[callback], verbose=0)
    assert attention.get_config()["dropout"] == 0.1
    assert model.layers[-1].rate > 0.3


def test_two_replicas_see_the_new_rate(strategies):
    with strategies(2).scope():
        inputs = keras.Input((8,))
        dropout = keras.layers.Dropout(0.0)
        model = keras.Model(inputs, identity()(dropout(inputs)))
        model.compile(keras.optimizers.SGD(0.0), "mse")
    data = (np.ones((64, 8)), np.zeros((64, 8)))
    callback = AdaptiveDropout(
        data,
        data,
        target_gap=0.1,
        max_rate=0.9,
        warmup_epochs=0,
        controller=Scripted([99.0]),
        guards=False,
    )
    history = model.fit(*data, 64, epochs=2, callbacks=[callback], verbose=0).history
    assert history["loss"][0] == pytest.approx(1.0)
    assert history["loss"][1] == pytest.approx(10.0, rel=0.5)


def moved(rate, change):
    logit = np.log(rate / (1 - rate)) + change
    return 1 / (1 + np.exp(-logit))


def test_all_layers_make_the_same_move():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dropout(0.2, name="a"),
            keras.layers.Dense(9),
            keras.layers.Dropout(0.3, name="b"),
            keras.Sequential(
                [
                    keras.Input((9,)),
                    keras.layers.Dense(16),
                    kx.layers.LiveDropout(0.4, name="c"),
                ],
                name="inner",
            ),
            keras.layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    data = (np.ones((8, 4)), np.ones((8, 1)))
    callback = AdaptiveDropout(
        data,
        data,
        warmup_epochs=0,
        controller=Scripted([0.5]),
        guards=False,
        max_rate=0.9,
    )
    history = model.fit(*data, callbacks=[callback], verbose=0).history
    expected = [moved(p, 0.5) for p in (0.2, 0.3, 0.4)]
    assert history["dropout_rate"] == pytest.approx([np.mean(expected)])


class Losses:
    """Stands in for the probes: returns losses from a list."""

    num_rows = data = None

    def __init__(self, losses):
        self.losses = list(losses)

    def measure(self, model):
        return self.losses.pop(0)

    def prepare(self, model, name):
        pass

    def __deepcopy__(self, memo):
        return Losses(self.losses)


def decisions(training, validation, **options):
    model = make_model(keras.layers.Dropout(0.2))
    callback = AdaptiveDropout(TRAIN, VALIDATION, **{"warmup_epochs": 0, **options})
    callback._train_probe = Losses(training)
    callback._validation_probe = Losses(validation)
    # The losses are given, so that nothing needs to be trained.
    callbacks = keras.callbacks.CallbackList(
        [callback], model=model, epochs=len(training)
    )
    callbacks.on_train_begin()
    for epoch in range(len(training)):
        callbacks.on_epoch_begin(epoch)
        callbacks.on_epoch_end(epoch, {})
    callbacks.on_train_end()
    return callback.decisions


def reasons(*args, **options):
    return [row["reason"] for row in decisions(*args, **options)]


def test_does_not_raise_while_the_validation_loss_falls():
    validation = [1.0, 0.9, 0.8, 0.799, 0.799, 0.799, 0.799]
    falls, still = ["validation improves"], ["gap"]
    # One alone has no trend; the slope over the last four.
    expected = still + 4 * falls + 2 * still
    rows = decisions(7 * [0.1], validation)
    assert [row["reason"] for row in rows] == expected
    assert [row["change"] > 0 for row in rows] == [r == "gap" for r in expected]
    # But it lowers.
    rows = decisions(4 * [1.0], [1.0, 0.9, 0.8, 0.7])
    assert [row["reason"] for row in rows] == 4 * ["gap"]
    assert all(row["change"] < 0 for row in rows)


def test_lowers_when_dropout_keeps_the_model_from_fitting():
    rows = decisions([0.3, 0.1, 0.14, 0.16, 0.12], 5 * [1.0])
    assert [row["reason"] for row in rows] == [*3 * ["gap"], "underfit", "gap"]
    assert rows[3]["change"] == -0.3


def test_a_training_loss_of_next_to_nothing_may_rise():
    """Tenfold, but nothing against the validation loss."""
    assert reasons([1e-4, 1e-3, 1e-3], 3 * [1.0]) == 3 * ["gap"]


def test_nan_moves_nothing_up():
    rows = decisions([0.1, np.nan, 0.1], [1.0, 1.0, np.nan])
    assert [row["change"] > 0 for row in rows] == [True, False, False]


def test_without_guards_only_the_gap_counts():
    falling = [1.0, 0.9, 0.8, 0.7]
    rows = decisions([0.1, 0.2, 0.3, 0.4], falling, target_gap=0.1, guards=False)
    assert [row["reason"] for row in rows] == 4 * ["gap"]
    assert rows[0]["change"] > 0


def test_warms_up_and_freezes():
    expected = [*2 * ["warm-up"], *4 * ["gap"], *2 * ["frozen"]]
    rows = decisions(8 * [0.1], 8 * [1.0], warmup_epochs=2, freeze_after=0.75)
    assert [row["reason"] for row in rows] == expected
    assert [row["change"] == 0 for row in rows] == [r != "gap" for r in expected]


def test_freezes_after_a_share_of_the_epochs_that_are_made():
    model = make_model(keras.layers.Dropout(0.2))
    callback = AdaptiveDropout(
        TRAIN, VALIDATION, warmup_epochs=0, guards=False, freeze_after=0.5
    )
    fit(model, callback, initial_epoch=10, epochs=12)
    assert [row["reason"] for row in callback.decisions] == ["gap", "frozen"]


def test_a_frozen_rate_stays():
    model = make_model(keras.layers.Dropout(0.2))
    callback = AdaptiveDropout(
        TRAIN, VALIDATION, warmup_epochs=0, guards=False, freeze_after=0.5
    )
    rates = fit(model, callback, epochs=6)["dropout_rate"]
    assert rates[0] != rates[1]
    assert rates[2:] == 4 * [rates[2]]


# From the second decision on, the rates move.
QUICK = {"target_gap": 0.0, "warmup_epochs": 1, "guards": False}


def batched(data):
    return tf.data.Dataset.from_tensor_slices(data).batch(32)


@pytest.mark.parametrize(
    ("replicas", "data", "options"),
    [
        (1, TRAIN, {"validation_data": VALIDATION}),
        (2, TRAIN, {"validation_data": VALIDATION}),
        (1, (X[:450], Y[:450]), {"validation_split": 2 / 3, "steps_per_execution": 2}),
        (1, (batched(TRAIN),), {"validation_data": batched(VALIDATION)}),
        pytest.param(
            1,
            (batched(TRAIN),),
            {"validation_data": batched(VALIDATION), "jit_compile": True},
            marks=pytest.mark.thorough(MATRIX),
        ),
    ],
    ids=["arrays", "two replicas", "split", "datasets", "datasets, XLA"],
)
def test_without_data_it_goes_by_that_of_fit(replicas, data, options, strategies):
    compiling = {"jit_compile", "steps_per_execution"} & options.keys()
    with strategies(replicas).scope():
        model = make_model(keras.layers.Dropout(0.1))
        if compiling:
            more = {name: options.pop(name) for name in compiling}
            model.compile(model.optimizer, model.loss, **more)
    callback = AdaptiveDropout(**QUICK)
    rates = model.fit(
        *data, epochs=5, shuffle=False, callbacks=[callback], verbose=0, **options
    ).history["dropout_rate"]
    assert [row["reason"] for row in callback.decisions] == ["warm-up"] + 4 * ["gap"]
    assert rates[-1] > rates[0]
    # Masks and order of the rows are other ones, but what is measured is the same.
    validation = model.evaluate(*VALIDATION, verbose=0)
    training = model.evaluate(*TRAIN, verbose=0)
    row = callback.decisions[-1]
    assert row["validation_loss"] == pytest.approx(validation, rel=1e-4)
    assert row["training_loss"] == pytest.approx(training, rel=1e-4)


def test_epochs_that_fit_does_not_validate_decide_nothing():
    model = make_model(keras.layers.Dropout(0.1))
    model.run_eagerly = True
    callback = AdaptiveDropout(**QUICK)
    history = fit(
        model, callback, epochs=5, validation_data=VALIDATION, validation_freq=2
    )
    assert [row["epoch"] for row in callback.decisions] == [1, 3]
    rates, gaps = history["dropout_rate"], history["overfit_gap"]
    assert rates[:3] == 3 * [pytest.approx(0.1)]
    assert rates[3] == rates[4] > 0.1
    assert np.isnan(gaps[0])
    assert gaps[1] == gaps[2]


def test_without_any_validation_data_fit_does_not_begin():
    model = make_model(keras.layers.Dropout(0.1))
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"`validation_data` must be data, here or as"):
        fit(model, AdaptiveDropout())
    for ours, theirs in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert "_keras_ext_scope" not in vars(model)


def test_a_loop_without_fit_tells_the_validation_loss():
    model = make_model(keras.layers.Dropout(0.2))
    adapt = AdaptiveDropout(TRAIN, **QUICK)
    callbacks = keras.callbacks.CallbackList([adapt], model=model, epochs=2)
    callbacks.on_train_begin()
    callbacks.on_epoch_end(0, {"val_loss": 9.0})
    assert adapt.decisions[0]["validation_loss"] == 9.0
    with pytest.raises(ValueError, match="`val_loss` in the logs of a loop without"):
        callbacks.on_epoch_end(1, {})
    callbacks.on_train_end()
    callbacks = keras.callbacks.CallbackList([AdaptiveDropout()], model=model)
    with pytest.raises(ValueError, match="`train_data` must be data.*There is no `fit"):
        callbacks.on_train_begin()
    kx.detach(model)


def test_the_picture_has_the_losses_the_gap_and_the_rate():
    callback = AdaptiveDropout(TRAIN, VALIDATION, target_gap=0.25)
    with pytest.raises(ValueError, match="Nothing was decided"):
        callback.plot()
    callback.decisions = [
        {
            "epoch": epoch,
            "training_loss": 0.5,
            "validation_loss": 1.0,
            "gap": 0.5,
            "rate": 0.1 * epoch,
        }
        for epoch in range(2)
    ]
    losses, gap, rate = callback.plot().axes
    assert [line.get_label() for line in losses.lines] == ["training", "validation"]
    assert [set(line.get_ydata()) for line in gap.lines] == [{0.5}, {0.25}]
    np.testing.assert_array_equal(rate.lines[0].get_xydata(), [[1, 0], [2, 0.1]])


def test_a_controller_that_returns_no_number_is_an_error():
    model = make_model(keras.layers.Dropout(0.2))
    callback = AdaptiveDropout(**QUICK, controller=Scripted([float("nan")]))
    with pytest.raises(ValueError, match=r"`Scripted.update\(.*` must be a finite num"):
        fit(model, callback, epochs=2, validation_data=VALIDATION)
    assert model.layers[1].rate == pytest.approx(0.2)


def test_needs_a_dropout_layer():
    model = make_model()
    with pytest.raises(ValueError, match=r"`model` must be one with a Dropout, Spat"):
        fit(model, AdaptiveDropout(TRAIN, VALIDATION))


def test_a_selection_that_leaves_nothing_is_an_error():
    model = make_model(keras.layers.Dropout(0.1, name="drop"))
    for name, pattern in (("include", "drpo"), ("exclude", ["dr"])):
        message = f"`{name}` must be such that some layer is left of .*'drop'"
        with pytest.raises(ValueError, match=message):
            fit(model, AdaptiveDropout(TRAIN, VALIDATION, **{name: pattern}))
    assert "_keras_ext_scope" not in vars(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_data": 1}, r"`train_data` must be a tuple \(x, y\)"),
        (
            {"validation_data": np.ones(3)},
            r"a tuple \(x, y\) or \(x, y, sample_weight\)",
        ),
        ({"target_gap": 1.0}, r"`target_gap` must be a number in \[0, 1\)"),
        ({"max_rate": 0.0}, r"`max_rate` must be a number in \(0, 0\.95\]"),
        ({"max_rate": 1.0}, r"`max_rate` must be a number in \(0, 0\.95\]"),
        ({"warmup_epochs": -1}, r"`warmup_epochs` must be an integer >= 0"),
        ({"controller": 1}, r"`controller` must be an object with a method update"),
        ({"guards": 1}, r"`guards` must be True or False"),
        ({"min_progress": -1}, r"`min_progress` must be a number >= 0"),
        ({"max_damage": 0}, r"`max_damage` must be a number > 0"),
        ({"freeze_after": 0}, r"`freeze_after` must be a number in \(0, 1\] or None"),
        ({"include": 1}, r"`include` must be a regular expression"),
        ({"exclude": "["}, r"`exclude` must be a regular expression"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    data = {"train_data": TRAIN, "validation_data": VALIDATION}
    with pytest.raises(ValueError, match=message):
        AdaptiveDropout(**{**data, **arguments})
