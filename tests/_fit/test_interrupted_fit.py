"""A `fit` that ends in any way leaves a plain model behind, by itself."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.callbacks import (
    AdaptiveDropout,
    AdaptiveRegularization,
    DynamicBatchSize,
    GradientMonitor,
    GradientNormEarlyStopping,
    GradualUnfreezing,
    HyperparameterScheduler,
    LayerwiseAdaptiveClipping,
)
from tests.thorough import LONG, MATRIX

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 4)).astype("float32")
Y = RNG.normal(size=(24, 2)).astype("float32")
PROBE = (X[:8], Y[:8])

MAKE = {
    "clip": lambda: LayerwiseAdaptiveClipping(0.05),
    "stop": lambda: GradientNormEarlyStopping(start_from_epoch=99),
    "monitor": lambda: GradientMonitor(every=2),
    "dropout": lambda: AdaptiveDropout(PROBE, PROBE, warmup_epochs=0),
    "regularization": lambda: AdaptiveRegularization(
        PROBE, PROBE, exclude="rate", rule="gap", warmup_epochs=0
    ),
    "batch": lambda: DynamicBatchSize(
        [(0, 2)], batch_size=8, learning_rate_scaling="sqrt", adjust_batch_norm=True
    ),
    "thaw": lambda: GradualUnfreezing([(1, "hidden")]),
    "schedule": lambda: HyperparameterScheduler({"loss/label_smoothing": [(0, 0.1)]}),
}
HOOKS = [
    "set_model",
    "on_train_begin",
    "on_epoch_begin",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_epoch_end",
    "on_train_end",
]
PLACES = [*HOOKS, "layer", "data"]


class AccidentError(Exception):
    """What ends the training here, beside Ctrl-C."""


class Breaks(keras.callbacks.Callback):
    """Raises in one of its hooks."""

    def __init__(self, hook, error):
        super().__init__()

        def fail(*args, **kwargs):
            raise error

        setattr(self, hook, fail)


class Passing(keras.layers.Layer):
    """The identity, until it is told what to raise, and when."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.error, self.calls = None, 0

    def call(self, x):
        if self.error is not None:
            self.calls -= 1
            if self.calls < 0:
                raise self.error
        return x


def make_model(eager):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, kernel_regularizer="l2", name="hidden"),
            keras.layers.BatchNormalization(name="norm"),
            Passing(name="passing"),
            keras.layers.Dropout(0.2, seed=1, name="dropout"),
            keras.layers.Dense(2, "softmax", name="head"),
        ],
        name="model",
    )
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(keras.optimizers.AdamW(0.01), loss, run_eagerly=eager)
    return model


def batches(error=None):
    for start in (0, 8, 16):
        if error is not None and start == 8:
            raise error
        yield X[start : start + 8], Y[start : start + 8]


def fit(model, callbacks=(), data=None, steps=3, validate=True):
    data = batches() if data is None else data
    return model.fit(
        data,
        steps_per_epoch=steps,
        epochs=1,
        callbacks=[*callbacks],
        validation_data=PROBE if validate else None,
        shuffle=False,
        verbose=0,
    )


def parts(model):
    """The model and what it is made of."""
    regularizer = model.layers[0].kernel_regularizer
    return [model, *model.layers, model.optimizer, model.loss, regularizer]


def attributes(model):
    # What Keras leaves behind when a `fit` is interrupted.
    of_keras = {"_eval_epoch_iterator", "_initial_epoch", "history", "stop_training"}
    return [sorted({*vars(part)} - of_keras) for part in parts(model)]


def state(model):
    return [v.numpy() for v in (*model.variables, *model.optimizer.variables)]


def assert_like_one_that_never_had_a_callback(model, twin, tmp_path):
    for own, other in zip(attributes(model), attributes(twin), strict=True):
        assert set(own) <= set(other)
    model.optimizer.build(model.trainable_variables)  # in case it came to no step
    for own, other in zip(
        (*model.variables, *model.optimizer.variables),
        (*twin.variables, *twin.optimizer.variables),
        strict=True,
    ):
        other.assign(own)
    for own, other in zip(parts(model), parts(twin), strict=True):
        for name in ("rate", "momentum", "weight_decay", "label_smoothing", "l2"):
            if name in vars(own):
                assert type(vars(own)[name]) is float
                setattr(other, name, vars(own)[name])
    twin.loss._fn_kwargs.update(model.loss._fn_kwargs)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path, custom_objects={"Passing": Passing})
    assert [type(p) for p in parts(loaded)] == [type(p) for p in parts(twin)]
    # Keras does not save the state of random numbers.
    for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for either in (model, twin):
        either.train_function = None  # other numbers are compiled in
        fit(either, steps=1, validate=False)
    for a, b in zip(state(model), state(twin), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def interrupt(model, place, names, seed):
    """Trains with these callbacks and one accident."""
    rng = np.random.default_rng(seed)
    error = KeyboardInterrupt() if seed % 2 else AccidentError("here")
    callbacks = [MAKE[name]() for name in names]
    data = None
    if place == "layer":
        model.layers[2].error, model.layers[2].calls = error, int(rng.integers(2))
    elif place == "data":
        data = batches(error)
    else:
        at = int(rng.integers(len(callbacks) + 1))
        callbacks.insert(at, Breaks(place, error))
    # What the data raises comes through TensorFlow.
    with pytest.raises((type(error), tf.errors.OpError)):
        fit(model, callbacks, data, steps=2, validate=place == "on_test_begin")
    model.layers[2].error = None


def cases():
    """Every callback meets an accident in every place, in mixes of a random order.

    Two mixes have all callbacks; by default each place has one of them.
    """
    rng = np.random.default_rng(7)
    for at, place in enumerate(PLACES):
        # The first and the last one both move label smoothing: never in one mix.
        others = rng.permutation(sorted(set(MAKE) - {"schedule", "regularization"}))
        mixes = np.array_split(["schedule", *others, "regularization"], 2)
        for turn in range(2):
            seed = at + turn * len(PLACES)
            names = [str(name) for name in rng.permutation(mixes[(at + turn) % 2])]
            marks = [pytest.mark.thorough(MATRIX)] if turn else []
            yield pytest.param(place, names, seed, id=f"{seed}-{place}", marks=marks)


@pytest.fixture(scope="module")
def twins():
    """Models that never had a callback, to be given the state of others."""
    made = {}

    def twin(eager):
        if eager not in made:
            made[eager] = make_model(eager)
            fit(made[eager])
        return made[eager]

    return twin


@pytest.mark.parametrize(("place", "names", "seed"), list(cases()))
def test_whatever_ends_it(place, names, seed, twins, tmp_path):
    # Layers run in Python, and can fail in any of their calls, if they run eagerly.
    eager = place == "layer" or seed % 9 != 0
    model = make_model(eager)
    before = parts(model)
    interrupt(model, place, names, seed)
    assert all(a is b for a, b in zip(parts(model), before, strict=True))
    assert_like_one_that_never_had_a_callback(model, twins(eager), tmp_path)


def test_a_model_that_is_compiled_meanwhile_keeps_its_new_optimizer():
    new = keras.optimizers.SGD(0.1)

    class Compiles(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.compile(new, "mse")
            self.model.make_train_function()

    model = make_model(eager=False)
    old = model.optimizer
    fit(model, [MAKE["clip"](), Compiles(), MAKE["batch"]()])
    assert model.optimizer is new
    assert "train_step" not in vars(model)
    assert isinstance(old.weight_decay, float)
    assert fit(model).history.keys() == {"loss", "val_loss"}


def test_looking_at_the_model_ends_nothing():
    """A loop without `fit` evaluates in its middle."""
    model = make_model(eager=False)
    optimizer = model.optimizer
    callbacks = keras.callbacks.CallbackList([MAKE["clip"]()], model=model)
    callbacks.on_train_begin()
    model.train_on_batch(X, Y)
    model.evaluate(X, Y, verbose=0)
    assert model.optimizer is not optimizer
    callbacks.on_train_end()
    assert model.optimizer is optimizer
    assert int(optimizer.iterations) == 1


def test_a_callback_of_an_evaluation_is_gone_after_it():
    model = make_model(eager=False)
    optimizer = model.optimizer
    model.evaluate(X, Y, callbacks=[MAKE["clip"]()], verbose=0)
    assert model.optimizer is optimizer


class TestTwoOwners:
    @pytest.mark.parametrize("order", [1, -1])
    def test_of_one_value_are_an_error_that_names_both(self, order):
        model = make_model(eager=False)
        before = attributes(model)
        both = [MAKE["dropout"](), HyperparameterScheduler({"/rate": [(0, 0.3)]})]
        with pytest.raises(ValueError, match=r"moves 'dropout/rate'") as error:
            fit(model, both[::order])
        assert "AdaptiveDropout" in str(error.value)
        assert "HyperparameterScheduler" in str(error.value)
        assert attributes(model) == before

    @pytest.mark.thorough(LONG)
    def test_of_different_values_are_none(self):
        schedule = HyperparameterScheduler({"optimizer/weight_decay": [(0, 0.3)]})
        model = make_model(eager=False)
        fit(model, [MAKE["dropout"](), schedule])
        assert model.optimizer.weight_decay == pytest.approx(0.3)

    def test_of_the_batch_size(self):
        with pytest.raises(ValueError, match="moves 'optimizer/accumulation_steps'"):
            fit(make_model(eager=False), [MAKE["batch"](), MAKE["batch"]()])

    @pytest.mark.thorough(LONG)
    def test_one_callback_twice_is_an_error(self):
        clip = MAKE["clip"]()
        model = make_model(eager=False)
        with pytest.raises(ValueError, match="`callbacks` must be once in the list"):
            fit(model, [clip, clip])
        fit(model, [clip])


def weights(model):
    return np.concatenate([np.ravel(w) for w in model.get_weights()])


class Look(keras.callbacks.Callback):
    """Keeps the weights that there are when training ends."""

    def on_train_end(self, logs=None):
        self.seen = weights(self.model)


@pytest.mark.parametrize("first", [True, False])
def test_what_is_left_is_applied_before_anybody_s_on_train_end(first):
    """Three batches in updates of two: the third one is left."""
    model, look = make_model(eager=False), Look()
    grow = DynamicBatchSize([(0, 2)], batch_size=8)
    fit(model, [look, grow] if first else [grow, look])
    assert int(model.optimizer.iterations) == 2
    np.testing.assert_array_equal(look.seen, weights(model))


@pytest.mark.parametrize("first", [True, False])
def test_restored_weights_are_the_last_word(first):
    class Spoils(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = float(epoch)
            if epoch == 0:
                self.best = weights(self.model)

    model, spoils = make_model(eager=False), Spoils()
    grow = DynamicBatchSize([(0, 2)], batch_size=8)
    stop = keras.callbacks.EarlyStopping(restore_best_weights=True, patience=1)
    order = [stop, grow] if first else [grow, stop]
    model.fit(X, Y, batch_size=8, epochs=9, callbacks=[spoils, *order], verbose=0)
    np.testing.assert_array_equal(weights(model), spoils.best)


def test_detach_takes_off_what_a_loop_has_left():
    model = make_model(eager=False)
    before = attributes(model)
    for name in MAKE:
        if name != "schedule":
            MAKE[name]().set_model(model)
    assert attributes(model) != before
    kx.detach(model)
    kx.detach(model)
    assert attributes(model) == before
