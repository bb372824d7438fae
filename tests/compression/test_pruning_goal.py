import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext.compression import PolynomialDecay, Prune
from keras_ext.compression._pruning_goal import PausedSchedule, _Rows, rise
from tests.thorough import TRAININGS

RNG = np.random.default_rng(0)
# Four of the inputs matter, and the others do not: three quarters of the weights.
X = RNG.normal(size=(600, 16)).astype("float32")
CLASSES = np.argmax(X[:, :4] + 0.1 * RNG.normal(size=(600, 4)), axis=1)
SCHEDULE = PolynomialDecay(0.2, 0.98, begin_step=1, end_step=200, frequency=10, power=1)

# Callbacks are silent where `fit` is.
SHOWN = {"verbose": 2}


def make_model(loss="sparse_categorical_crossentropy", units=4, end="softmax"):
    model = keras.Sequential(
        [keras.Input((16,)), keras.layers.Dense(units, end, name="dense")]
    )
    model.compile(keras.optimizers.Adam(0.05), loss, jit_compile=False)
    return model


def fit(model, *callbacks, y=CLASSES, epochs=20, **kwargs):
    data = {"validation_data": (X[400:], y[400:]), "verbose": 0, **kwargs}
    callbacks = list(callbacks)
    return model.fit(
        X[:400], y[:400], epochs=epochs, batch_size=40, callbacks=callbacks, **data
    )


def test_prunes_what_does_not_matter_and_says_where_it_stopped(capsys):
    keras.utils.set_random_seed(0)
    model = make_model()
    fit(model, epochs=10)
    before = wrong(model)
    goal = Prune(SCHEDULE, target="validation", tolerance=0.05)
    model.compile(keras.optimizers.Adam(0.01), model.loss, jit_compile=False)
    history = fit(model, goal, **SHOWN).history
    # The rows of weights of the four inputs are a quarter of all.
    assert 0.6 < goal.report.sparsity < 0.9
    assert wrong(model) <= before + 0.05
    assert max(history["error_rise"]) > 0.05
    assert f"{goal.report.sparsity:.1%} zeros, those after epoch " in goal.stopped
    assert "the share of wrong ones on 200 rows rises by" in goal.stopped
    assert goal.stopped in capsys.readouterr().out
    kept = np.array(model.layers[0].kernel) != 0
    assert kept[:4].sum() > 3 * kept[4:].sum()


def wrong(model):
    return np.mean(np.argmax(model(X[400:]), axis=1) != CLASSES[400:])


@pytest.mark.thorough(TRAININGS)
def test_follows_the_schedule_to_its_end_where_nothing_gets_worse():
    model = make_model()
    goal = Prune(SCHEDULE, target="validation", tolerance=1.0, verbose=0)
    fit(model, goal)
    # Of 64 weights, at update 191, the last that is a multiple of 10 from the first.
    assert goal.report.sparsity == int(64 * (0.2 + 0.78 * 190 / 199)) / 64


def test_nothing_is_pruned_that_is_missed_at_once_and_the_weights_come_back():
    """Of a model without classes, by its loss."""
    model = make_model("mse", 16, "linear")
    kernel = RNG.permutation(np.linspace(1, 3, 256)).reshape(16, 16)
    model.set_weights([kernel, np.zeros(16)])
    model.optimizer.learning_rate = 0.0
    goal = Prune(SCHEDULE, target="validation", tolerance=0.01, verbose=0)
    fit(model, goal, y=X @ kernel.astype("float32") + 0.1, epochs=2)
    assert goal.report.sparsity == 0
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-6)
    assert goal.stopped.startswith("0.0% zeros, those before the training; at ")
    assert "the share of the loss on 200 rows" in goal.stopped


def test_a_training_that_is_taken_up_again_goes_on():
    model = make_model()
    model.optimizer.learning_rate = 0.0
    goal = Prune(SCHEDULE, target="validation", tolerance=1e-9, verbose=0)

    class Takes(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            state = goal.get_state()
            assert state["goal"]["held_since"] == 10
            # As in a new process, whose schedule does not stand still yet.
            goal._goal.schedule.set(0, False)
            before = self.model.get_weights()
            goal.set_state(state)
            for now, then in zip(self.model.get_weights(), before, strict=True):
                np.testing.assert_array_equal(now, then)

    fit(model, goal, Takes(), epochs=2)
    assert goal.report.sparsity == 0


def test_a_schedule_stands_still_and_goes_on_later():
    paused = PausedSchedule(SCHEDULE)
    assert [s for s in range(30) if paused.is_due(s)] == [1, 11, 21]
    paused.set(0, True)
    assert not any(paused.is_due(s) for s in range(30))
    paused.set(15, False)
    assert [s for s in range(30) if paused.is_due(s)] == [16, 26]
    assert float(paused.sparsity(26)) == float(SCHEDULE.sparsity(11))


def test_the_bound_of_a_rise_is_right_as_often_as_it_says():
    rng = np.random.default_rng(0)
    before = rng.random((2000, 300)) < 0.1
    changed = rng.random((2000, 300)) < 0.04
    # Of rows that change half become wrong, so there is no rise on average.
    after = np.where(changed, rng.random((2000, 300)) < 0.5, before).astype(float)
    mean = 0.04 * 0.4
    bounds = [rise(a, b.astype(float)) for a, b in zip(after, before, strict=True)]
    assert 0.93 < np.mean(np.array(bounds) >= mean) < 0.98
    # Also where nothing has changed.
    assert 0.002 < rise(before[0].astype(float), before[0].astype(float)) < 0.02
    losses = rng.normal(0.2, 1.0, (2000, 300))
    bounds = [rise(a, np.full(300, 0.1)) for a in losses]
    assert 0.93 < np.mean(np.array(bounds) >= 0.1) < 0.97


def test_many_models_are_no_reason_to_warn(caplog):
    """TensorFlow warns of traces of one function, whatever model it is for."""
    with caplog.at_level("WARNING"):
        tf.get_logger().addHandler(caplog.handler)
        for _ in range(8):
            _Rows(make_model(), FixedData((X, CLASSES))).errors()
        tf.get_logger().removeHandler(caplog.handler)
    assert not caplog.records


def test_rejects_too_few_rows_and_no_data():
    goal = Prune(SCHEDULE, target="validation", verbose=0)
    with pytest.raises(ValueError, match="`validation_data` must be at least 30 rows"):
        fit(make_model(), goal, validation_data=(X[:9], CLASSES[:9]))
    with pytest.raises(ValueError, match="`validation_data` must be data, here or as"):
        fit(make_model(), goal, validation_data=None)
    with pytest.raises(ValueError, match='`target` must be "validation" or None'):
        Prune(SCHEDULE, target="accuracy")
