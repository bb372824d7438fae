import keras
import numpy as np
import pytest

from keras_ext.callbacks.schedules._probed_rate import ProbedRate

X = np.random.default_rng(0).normal(size=(32, 2)).astype("float32")


class Noted(ProbedRate):
    """Answers from a list; what burst is multiplied by 1."""

    def __init__(self, answers, **options):
        super().__init__(
            (X, X[:, :1]), min_multiplier=1e-3, max_multiplier=1e9, verbose=0, **options
        )
        self.answers, self.told = iter(answers), []

    def first_factor(self, loss):
        self.told.append(("first", loss))
        return next(self.answers)

    def next_factor(self, fall, loss):
        self.told.append(("next", fall))
        return next(self.answers)

    def factor_after_burst(self):
        self.told.append(("burst", None))
        return 1.0


def test_decides_every_so_many_batches_and_takes_back_what_burst():
    found = {}
    for rollback in (True, False):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.01), "mse")
        noted = Noted([1.0, 1e6, 1.0, 1.0], every=2, rollback=rollback)
        data = {"batch_size": 4, "shuffle": False, "verbose": 0}
        model.fit(X, X[:, :1], callbacks=[noted], **data)
        found[rollback] = noted, model.evaluate(X, X[:, :1], verbose=0)
        assert [kind for kind, _ in noted.told][:3] == ["first", "next", "burst"]
        assert noted.told[1][1] > 0  # it fell
    assert found[True][0].rollbacks == 1
    assert found[True][1] < found[True][0].told[0][1]
    assert found[False][0].rollbacks == 0
    assert not found[False][1] < 1e3


def test_what_burst_in_the_last_batches_is_taken_back_in_the_end():
    """No decision comes after them."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    noted = Noted([1.0, 1e30], every=6, rollback=True)
    model.fit(X, X[:, :1], batch_size=4, callbacks=[noted], verbose=0)
    assert [kind for kind, _ in noted.told] == ["first", "next"]
    assert noted.rollbacks == 1
    assert model.evaluate(X, X[:, :1], verbose=0) < noted.told[0][1]


def test_goes_back_to_slots_and_does_not_raise_again_what_burst():
    """Slots that the first step makes stayed as that had left them, for ever."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e9, momentum=0.9), "mse")
    noted = Noted([1.0] * 12, every=2, rollback=True)
    noted.min_multiplier = 1e-30
    noted.factor_after_burst = lambda: 1e-4
    history = model.fit(
        X, X[:, :1], batch_size=4, epochs=3, callbacks=[noted], verbose=0
    ).history
    assert 2 <= noted.rollbacks <= 4
    multiplier = history["learning_rate_multiplier"][-1]
    assert multiplier == pytest.approx(1e-4**noted.rollbacks)
    state = [*model.variables, *model.optimizer.variables]
    assert all(np.isfinite(v.numpy()).all() for v in state)


def test_a_loss_that_is_not_finite_is_no_measure():
    """All that came after it was taken back, for ever."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.set_weights([np.full((2, 1), 1e30), np.zeros(1)])

    class Mend(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.set_weights([np.zeros((2, 1)), np.zeros(1)])

    noted = Noted([1.0] * 4, every=2, rollback=True)
    model.fit(X, X[:, :1], batch_size=4, callbacks=[noted, Mend()], verbose=0)
    assert [kind for kind, _ in noted.told] == ["first", "first", "next", "next"]
    assert noted.rollbacks == 0


def test_a_training_that_goes_on_takes_back_what_burst_before(tmp_path):
    def fit(model, answers, *others, **options):
        noted = Noted(answers, every=2, rollback=True)
        options = {"batch_size": 8, "epochs": 2, "shuffle": False, **options}
        callbacks = [noted, *others]
        history = model.fit(X, X[:, :1], callbacks=callbacks, verbose=0, **options)
        multiplier = history.history["learning_rate_multiplier"][-1]
        return noted.rollbacks, multiplier, model.get_weights()

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.5), "mse")
    save = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    # The second factor is too large, which is seen when the second epoch begins.
    whole = fit(model, [2.0, 1e6, 1.0, 1.0], save)
    resumed = keras.saving.load_model(tmp_path / "1.keras")
    went_on = fit(resumed, [1.0, 1.0], initial_epoch=1)
    assert went_on[:2] == whole[:2] == (1, 2.0)
    for own, other in zip(went_on[2], whole[2], strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-6)
