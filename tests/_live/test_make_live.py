"""Live hyperparameters against Keras models that were built with the value."""

import keras
import numpy as np
import pytest
from keras import layers, optimizers, regularizers

import keras_ext as kx
from keras_ext import hyper_variables, make_live
from keras_ext._live._find_hyperparameters import find_hyperparameters
from tests.thorough import LONG, thorough_but

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 6)).astype("float32")
Y = np.eye(3, dtype="float32")[RNG.integers(0, 3, 32)]


def model_with(
    kernel=None,
    bias=None,
    activity=None,
    bn_momentum=0.9,
    optimizer=None,
    smoothing=0.0,
    weights=None,
    **options,
):
    """A small model with every hyperparameter that can be live and is no noise."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    x = layers.Dense(
        4,
        "tanh",
        kernel_regularizer=kernel,
        activity_regularizer=activity,
        bias_regularizer=bias,
        name="dense",
    )(inputs)
    x = layers.BatchNormalization(momentum=bn_momentum, name="bn")(x)
    outputs = layers.Dense(3, "softmax", name="out")(x)
    model = keras.Model(inputs, outputs)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
    optimizer = optimizer or optimizers.SGD(0.1)
    model.compile(optimizer, loss, loss_weights=weights, **options)
    return model


class AssignAt(keras.callbacks.Callback):
    """Assigns all that is live when an epoch begins."""

    def __init__(self, live, value, epoch=2):
        super().__init__()
        self.live, self.value, self.epoch = live, value, epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            for hyper in self.live.values():
                hyper.assign(self.value)


def fit(model, *callbacks, epochs=4, **options):
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    return model.fit(X, Y, epochs=epochs, callbacks=[*callbacks], **options)


def continued(old, new):
    """`new` with the state of training of `old`."""
    new.set_weights(old.get_weights())
    new.optimizer.build(new.trainable_variables)
    for to, value in zip(new.optimizer.variables, old.optimizer.variables, strict=True):
        to.assign(value)
    return new


def assert_same_weights(a, b, atol=1e-6):
    for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=atol)


# From what is live, to what a model is built with for a value of it.
KINDS = {
    "kernel_regularizer/l2": lambda v: {"kernel": regularizers.L2(v)},
    "kernel_regularizer/l1": lambda v: {"kernel": regularizers.L1(v)},
    "kernel_regularizer/factor": lambda v: {
        "kernel": regularizers.OrthogonalRegularizer(v)
    },
    "bias_regularizer/l": lambda v: {"bias": regularizers.L1L2(v, v)},
    "activity_regularizer/l2": lambda v: {"activity": regularizers.L2(v)},
    "bn/momentum": lambda v: {"bn_momentum": v},
    "weight_decay": lambda v: {"optimizer": optimizers.AdamW(0.1, weight_decay=v)},
    "beta_1": lambda v: {"optimizer": optimizers.Adam(0.1, beta_1=v)},
    "beta_2": lambda v: {"optimizer": optimizers.Adam(0.1, beta_2=v)},
    "optimizer/momentum": lambda v: {"optimizer": optimizers.SGD(0.1, momentum=v)},
    "rho": lambda v: {"optimizer": optimizers.RMSprop(0.01, rho=v)},
    "label_smoothing": lambda v: {"smoothing": v},
    "loss/weight": lambda v: {"weights": v},
}


# One of each place where a value can be; `test_live_runs.py` has all of them at once.
PLACES = {
    "kernel_regularizer/l2",
    "bn/momentum",
    "weight_decay",
    "label_smoothing",
    "loss/weight",
}


@pytest.mark.parametrize("path", thorough_but(PLACES, KINDS))
def test_a_value_from_now_on_is_one_that_was_built_in(path):
    make = KINDS[path]
    model = model_with(**make(0.1))
    live = make_live(model, include=path)
    assert live
    fit(model, AssignAt(live, 0.6))

    plain = model_with(**make(0.1))
    fit(plain, epochs=2)
    oracle = continued(plain, model_with(**make(0.6)))
    fit(oracle, epochs=2)
    assert_same_weights(model, oracle)

    fit(plain, epochs=2)
    changes = zip(plain.get_weights(), model.get_weights(), strict=True)
    assert max(np.abs(a - b).max() for a, b in changes) > 1e-4


def everything(value):
    made = {}
    for path in ("bias_reg", "activity", "bn", "weight_decay", "label", "loss"):
        made |= next(make(value) for kind, make in KINDS.items() if path in kind)
    return made


@pytest.mark.thorough(LONG)
def test_everything_at_once_in_several_steps_per_execution():
    """Compiled by XLA as well. Other ways to run the step: `test_live_runs.py`."""
    options = {"steps_per_execution": 2, "jit_compile": True}
    model = model_with(**everything(0.1), **options)
    live = make_live(model)
    fit(model, epochs=2)
    built = {**everything(0.6), "optimizer": optimizers.AdamW(0.1, 0.6, 0.6, 0.6)}
    oracle = continued(model, model_with(**built, **options))
    fit(model, AssignAt(live, 0.6, epoch=0), epochs=2)
    fit(oracle, epochs=2)
    # 1 - beta is a float32 here, and Adam makes much of little where gradients vanish.
    assert_same_weights(model, oracle, atol=3e-5)


@pytest.mark.thorough(LONG)
def test_two_replicas_see_the_new_values(strategies):
    weights = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            made = everything(0.1)
            del made["bn_momentum"]  # its statistics are those of a replica
            model = model_with(**made)
            model.get_layer("bn").trainable = False
        fit(model, AssignAt(make_live(model), 0.6))
        weights.append(model)
    assert_same_weights(*weights)


def test_the_step_is_traced_once():
    traces = []

    class Counts(keras.Model):
        def train_step(self, *args, **kwargs):
            traces.append(1)
            return super().train_step(*args, **kwargs)

    plain = model_with(**everything(0.1))
    model = Counts(plain.inputs, plain.outputs)
    model.compile(optimizers.AdamW(0.1), "categorical_crossentropy")
    live = make_live(model)
    fit(model, epochs=1)
    first = len(traces)
    fit(model, AssignAt(live, 0.6, 1), AssignAt(live, 0.2, 3))
    assert len(traces) == first


def test_a_step_that_was_traced_before_is_traced_anew():
    model = keras.Sequential([keras.Input((2,)), layers.Dropout(0.2, name="drop")])
    model.train_function = print
    (live,) = make_live(model).values()
    assert model.train_function is None
    # What a callback has made live for the time of a `fit` stays so when asked for.
    live.temporary = True
    assert make_live(model)["drop/rate"] is live
    assert not live.temporary


class SetAttributes(keras.callbacks.Callback):
    """Does in mid-training what people write first."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            dense, optimizer = self.model.get_layer("dense"), self.model.optimizer
            self.model.get_layer("bn").momentum = 0.6
            dense.bias_regularizer.l1 = dense.bias_regularizer.l2 = 0.6
            dense.activity_regularizer.l2 = 0.6
            optimizer.weight_decay = optimizer.beta_1 = optimizer.beta_2 = 0.6
            self.model.loss.label_smoothing = 0.6


# A callback that looks at gradients puts another optimizer around that of the model.
@pytest.mark.parametrize(
    "others", [list, lambda: [kx.callbacks.GradientMonitor()]], ids=["alone", "wrapped"]
)
def test_assigning_to_an_attribute_does_what_assigning_to_the_value_does(others):
    through_attributes, through_values = (model_with(**everything(0.1)) for _ in "ab")
    live = make_live(through_attributes, exclude="weight$")
    fit(through_attributes, SetAttributes(), *others())
    fit(
        through_values,
        AssignAt(make_live(through_values, exclude="weight$"), 0.6),
        *others(),
    )
    assert_same_weights(through_attributes, through_values)
    assert {float(hyper) for hyper in live.values()} == {0.6}


def test_what_is_assigned_to_an_attribute_is_checked_and_plain_again_afterwards():
    model = noisy_model("attention", 0.1)
    attention = model.layers[1].attention
    (rate,) = make_live(model).values()
    attention._dropout_layer.rate = 0.3
    assert float(rate) == 0.3
    with pytest.raises(ValueError, match=r"must be a finite number"):
        attention._dropout_layer.rate = "high"
    next(find_hyperparameters(model)).make_plain()
    attention._dropout_layer.rate = 0.2
    assert type(attention._dropout_layer.rate) is float


# Layers that draw noise, for a rate.
NOISE = {
    "dropout": lambda r: layers.Dropout(r, seed=3),
    "noise_shape": lambda r: layers.Dropout(r, noise_shape=(None, 1, 4), seed=3),
    "spatial": lambda r: layers.SpatialDropout1D(r, seed=3),
    "gaussian_dropout": lambda r: layers.GaussianDropout(r, seed=3),
    "gaussian_noise": lambda r: layers.GaussianNoise(r, seed=3),
    "alpha_dropout": lambda r: layers.AlphaDropout(r, seed=3),
    "lstm": lambda r: layers.LSTM(4, dropout=r, seed=3),
    "gru": lambda r: layers.GRU(4, dropout=r, seed=3),
    "simple_rnn": lambda r: layers.SimpleRNN(4, dropout=r, seed=3),
    "attention": lambda r: _SelfAttention(
        layers.MultiHeadAttention(2, 4, dropout=r, seed=3)
    ),
    "grouped_attention": lambda r: _SelfAttention(
        layers.GroupQueryAttention(4, 2, 1, dropout=r, seed=3)
    ),
}


class _SelfAttention(layers.Layer):
    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def call(self, x, training=False):
        return self.attention(x, x, training=training)


def noisy_model(kind, rate):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5, 4))
    outputs = NOISE[kind](rate)(inputs)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    return model


# Of XLA, a layer whose rate is its own and one with the rate in a cell.
SOME_NOISE = {(kind, False) for kind in NOISE} | {("dropout", True), ("gru", True)}


@pytest.mark.parametrize(
    ("kind", "jit_compile"),
    [(kind, jit) for jit in (False, True) for kind in NOISE],
)
@pytest.mark.thorough(LONG)
def test_noise_of_a_rate_that_was_raised_is_that_of_keras(kind, jit_compile):
    """With the same seed, drawn for the first time after the rate was raised."""
    import tensorflow as tf

    x = RNG.normal(size=(3, 5, 4)).astype("float32")
    model, oracle = noisy_model(kind, 0.0), noisy_model(kind, 0.4)
    (rate,) = make_live(model, include="layer|drop|noise|cell|att|rate").values()

    @tf.function(autograph=False, jit_compile=jit_compile)
    def step(x):
        return model(x, training=True)

    identity = np.asarray(step(x))
    np.testing.assert_allclose(identity, model(x, training=False), atol=1e-6)
    rate.assign(0.4)
    for layer in kx._anatomy._sublayers.sublayers(model):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(np.array([3, 0], "uint32"))
    expected = tf.function(lambda x: oracle(x, training=True), jit_compile=jit_compile)
    np.testing.assert_allclose(step(x), expected(x), rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(step(x)) - identity).max() > 0.01


def test_what_is_saved_and_cloned_is_plain(tmp_path):
    inputs = keras.Input((6,))
    x = layers.Dense(4, kernel_regularizer=regularizers.L2(0.1), name="dense")(inputs)
    x = layers.GaussianDropout(0.1, name="noise")(x)
    x = layers.BatchNormalization(name="bn")(x)
    model = keras.Model(inputs, layers.Dense(3, "softmax", name="out")(x))
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(optimizers.AdamW(0.1), [loss], loss_weights=[0.5])
    for hyper in make_live(model).values():
        hyper.assign(0.25)
    fit(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    for copy in (loaded, clone):
        assert hyper_variables(copy) == {}
        assert type(copy.get_layer("noise").rate) is float
        assert copy.get_layer("noise").rate == 0.25
        assert copy.get_layer("bn").momentum == 0.25
        assert copy.get_layer("dense").kernel_regularizer.l2 == 0.25
    assert loaded.optimizer.weight_decay == loaded.optimizer.beta_1 == 0.25
    assert loaded.loss[0].label_smoothing == 0.25
    assert loaded.get_compile_config()["loss_weights"] == [0.25]
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    # The loaded model trains on as the live one does, but for the noise.
    assert np.isfinite(fit(loaded, epochs=1).history["loss"]).all()


def test_paths_are_those_of_hyper_variables():
    model = model_with(**everything(0.1))
    live = make_live(model)
    assert hyper_variables(model) == live
    assert make_live(model) == live
    assert sorted(live) == [
        "bn/momentum",
        "dense/activity_regularizer/l2",
        "dense/bias_regularizer/l1",
        "dense/bias_regularizer/l2",
        "loss/label_smoothing",
        "loss/weight",
        "optimizer/beta_1",
        "optimizer/beta_2",
        "optimizer/weight_decay",
    ]


def test_finds_models_inside_and_the_optimizer_in_a_pipeline():
    inner = keras.Sequential([layers.Dropout(0.1, name="drop")], name="inner")
    model = keras.Sequential([keras.Input((6,)), inner, layers.Dense(3)])
    inside = optimizers.AdamW(0.1)
    model.compile(kx.optimizers.GradientPipeline(inside), "mse")
    live = make_live(model, exclude="beta")
    assert list(live) == ["inner/drop/rate", "optimizer/weight_decay"]
    live["optimizer/weight_decay"].assign(0.5)
    assert model.optimizer.weight_decay == inside.weight_decay == 0.5


def test_values_are_clipped_to_their_bounds():
    model = model_with(kernel=regularizers.L2(0.1))
    live = make_live(model, include="l2")
    live["dense/kernel_regularizer/l2"].assign(-1.0)
    assert model.get_layer("dense").kernel_regularizer.get_config() == {"l2": 0.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "model"}, r"`model` must be a keras.Model. Received: model='model'"),
        ({"include": "("}, r"`include` must be a regular expression"),
        ({"exclude": 3}, r"`exclude` must be a regular expression.*exclude=3"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_live(**{"model": model_with(), **arguments})


def test_numbers_of_numpy_are_found():
    drop = keras.layers.Dropout(np.float32(0.5), name="drop")
    model = keras.Sequential([keras.Input((2,)), drop])
    model.compile(keras.optimizers.Adam(beta_1=np.float32(0.9)), "mse")
    found = kx.make_live(model, include="rate|beta_1")
    assert {"drop/rate", "optimizer/beta_1"} <= set(found)
