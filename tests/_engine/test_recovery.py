"""Going back to good weights when training runs into NaN."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from tests.thorough import LONG

RNG = np.random.default_rng(0)
X = RNG.normal(size=(1600, 4)).astype("float32")
Y = X[:, :1]


class Explode(keras.layers.Layer):
    """Gives NaN while a switch is on, as weights do that have run away."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, x):
        return tf.where(tf.abs(self.scale) > 2.0, np.nan, x * self.scale)


class Push(keras.callbacks.Callback):
    """Makes the weights of the model bad at the beginning of some batches."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_train_batch_begin(self, batch, logs=None):
        if batch in self.batches:
            layer = self.model.get_layer("explode")
            layer.scale.assign(5.0)


def make_model(rate=0.01, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(3, "tanh"),
            Explode(name="explode"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(rate), "mse", **options)
    return model


def fit(model, *callbacks, epochs=1):
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    options = {"callbacks": list(callbacks), "epochs": epochs, "verbose": 0}
    return model.fit(batches, shuffle=False, **options)


def rate_of(model):
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


@pytest.mark.parametrize("replicas", [1, 2])
def test_goes_back_halves_the_rate_and_goes_on(strategies, replicas):
    with strategies(replicas).scope():
        model = make_model()
    # The look at batch 100 was good, that at batch 150 finds 40 updates left out.
    clip = kx.callbacks.LayerwiseAdaptiveClipping(nonfinite="recover")
    with pytest.warns(UserWarning, match=r"learning rate is 0\.005"):
        history = fit(model, clip, Push([110])).history
    assert history["nonfinite_steps"] == [40]
    assert rate_of(model) == pytest.approx(0.005)
    # 110 updates went by, of which 10 were taken back, and 50 came afterwards.
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 150
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert np.isfinite(model.predict(X[:8], verbose=0)).all()


class Moves(keras.callbacks.Callback):
    """Notes a weight before each batch."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(self.model.get_weights()[0].item())


def line(rate):
    """A weight that moves by the learning rate in every update."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(keras.optimizers.SGD(rate), keras.losses.MeanAbsoluteError())
    return model


def fit_line(model, bad, *callbacks, rows=60, **options):
    """Trains on one row after the other, of which some are NaN."""
    x, y = np.ones((rows, 1)), np.full((rows, 1), 1e6)
    x[bad] = np.nan
    options = {"batch_size": 1, "shuffle": False, "verbose": 0, **options}
    moves = Moves()
    model.fit(x, y, callbacks=[*callbacks, moves], **options)
    return moves.seen


CONSTANT = {"cycle_momentum": False, "div_factor": 1, "final_div_factor": 1}


def recover():
    return kx.callbacks.LayerwiseDecay(1.0, nonfinite="recover")


@pytest.mark.parametrize(
    ("rate", "others"),
    [
        (keras.optimizers.schedules.PolynomialDecay(0.25, 9, 0.25), []),
        (0.25, []),
        (1.0, [kx.callbacks.OneCycle(0.25, **CONSTANT)]),
    ],
)
def test_the_step_that_runs_has_half_the_rate(rate, others):
    model = line(rate)
    with pytest.warns(UserWarning, match="learning rate is 0.125"):
        seen = fit_line(model, slice(10, 50), recover(), *others)
    # At the look at batch 50 it is back at the beginning.
    assert np.diff(seen[:11]).tolist() == [0.25] * 10
    assert seen[50] == 0.0
    assert np.diff(seen[50:]).tolist() == [0.125] * 9


class Spoil(keras.callbacks.Callback):
    """Makes a weight NaN in the first epoch, and with it all updates."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (0, 5):
            self.model.set_weights([np.full((1, 1), np.nan)])


@pytest.mark.parametrize(
    "schedule",
    [lambda epoch: 0.25 / 2**epoch, lambda epoch, rate: rate / 2 if epoch else rate],
)
def test_a_schedule_by_the_epoch_keeps_half_the_rate(schedule):
    model = line(0.25)
    by_epoch = keras.callbacks.LearningRateScheduler(schedule)
    callbacks = [recover(), by_epoch, Spoil()]
    with pytest.warns(UserWarning, match="learning rate is 0.125"):
        seen = fit_line(model, [], *callbacks, rows=20, epochs=3)
    # It went back to the beginning when the first epoch had ended.
    moves = np.diff(seen[20:])
    np.testing.assert_array_equal(moves, [0.0625] * 20 + [0.03125] * 19)
    assert by_epoch.schedule is schedule


def test_a_training_that_goes_on_has_the_rate_and_the_count(tmp_path):
    schedule = keras.optimizers.schedules.PolynomialDecay(0.25, 9, 0.25)
    pipelines = []

    class Look(kx.callbacks.LayerwiseDecay):
        def on_epoch_begin(self, epoch, logs=None):
            pipelines.append(self.pipeline)

    model = line(schedule)
    path = tmp_path / "model.keras"
    save = keras.callbacks.ModelCheckpoint(path)
    with pytest.warns(UserWarning, match="learning rate is 0.125"):
        fit_line(model, slice(10, 30), Look(1.0, nonfinite="recover"), save, rows=30)
    resumed = keras.saving.load_model(path)
    options = {"initial_epoch": 1, "epochs": 2, "rows": 9}
    seen = fit_line(resumed, [], Look(1.0, nonfinite="recover"), **options)
    assert np.diff(seen).tolist() == [0.125] * 8
    assert [p.get_state()["recovery"]["_count"] for p in pipelines] == [1, 1]


@pytest.mark.thorough(LONG)
def test_a_schedule_is_halved_for_the_time_of_the_fit():
    schedule = keras.optimizers.schedules.InverseTimeDecay(0.01, 100, 1.0)
    model = make_model(schedule)
    rates = []

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            inner = model.optimizer.inner_optimizer
            rates.append(float(inner.learning_rate))

    clip = kx.callbacks.LayerwiseAdaptiveClipping(nonfinite="recover")
    with pytest.warns(UserWarning, match="good look again"):
        fit(model, clip, Push([110]), Note())
    plain = float(schedule(int(model.optimizer.iterations)))
    assert rates[0] == pytest.approx(0.5 * plain, rel=0.05)
    assert rate_of(model) == pytest.approx(plain, rel=1e-6)


@pytest.mark.thorough(LONG)
def test_gives_up_when_it_does_not_help():
    model = make_model()
    clip = kx.callbacks.LayerwiseAdaptiveClipping(nonfinite="recover")
    always = Push(range(60, 10**6))
    with (
        pytest.warns(UserWarning, match="good look again"),
        pytest.raises(FloatingPointError, match="updates in a row were left out"),
    ):
        # Three times in the first epoch, and for the sixth time in the second.
        fit(model, clip, always, epochs=2)
    assert type(model.optimizer) is keras.optimizers.Adam


@pytest.mark.thorough(LONG)
def test_single_bad_batches_are_only_left_out():
    model = make_model()
    before = rate_of(model)
    x = X.copy()
    x[::200] = np.nan
    batches = tf.data.Dataset.from_tensor_slices((x, Y)).batch(8)
    clip = kx.callbacks.LayerwiseAdaptiveClipping(nonfinite="recover")
    history = model.fit(batches, shuffle=False, callbacks=[clip], verbose=0).history
    assert history["nonfinite_steps"] == [8]
    assert rate_of(model) == before
