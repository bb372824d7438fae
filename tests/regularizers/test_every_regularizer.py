"""What every live regularizer must do."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext import regularizers as r
from tests.thorough import LONG, MATRIX

# From the class to how it is made, with a penalty, and what is its strength.
REGULARIZERS = {
    "GroupLasso": (lambda: r.GroupLasso(0.25), "strength"),
    "L1": (lambda: r.L1(0.25), "l1"),
    "L1L2": (lambda: r.L1L2(0.25, 0.125), "l1"),
    "L2": (lambda: r.L2(0.25), "l2"),
    "OrthogonalityPenalty": (lambda: r.OrthogonalityPenalty(0.25), "strength"),
    "SparseGroupLasso": (lambda: r.SparseGroupLasso(0.25, l1_ratio=0.125), "strength"),
}
every_regularizer = pytest.mark.parametrize(
    ("make", "name"), REGULARIZERS.values(), ids=REGULARIZERS
)
# In all ways to run, the one with two strengths by default.
some_regularizers = pytest.mark.parametrize(
    ("make", "name"),
    [
        pytest.param(
            *values,
            id=key,
            marks=[] if key == "SparseGroupLasso" else pytest.mark.thorough(MATRIX),
        )
        for key, values in REGULARIZERS.items()
    ],
)
X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


def test_the_table_has_every_regularizer():
    classes = [getattr(r, name) for name in r.__all__]
    classes = [c for c in classes if isinstance(c, type)]
    live = {c for c in classes if issubclass(c, r.LiveRegularizer)}
    assert {c.__name__ for c in live - {r.LiveRegularizer}} == set(REGULARIZERS)


def model_with(regularizer, name="dense"):
    dense = keras.layers.Dense(2, kernel_regularizer=regularizer, name=name)
    return keras.Sequential([keras.Input((3,)), dense], name="model")


@every_regularizer
def test_is_found_and_saved_with_its_present_values(make, name, tmp_path):
    model = model_with(make())
    found = kx.hyper_variables(model)
    found[f"dense/kernel_regularizer/{name}"].assign(0.75)
    config = model.layers[0].kernel_regularizer.get_config()
    assert config[name] == 0.75
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].kernel_regularizer.get_config() == config
    assert kx.hyper_variables(loaded).keys() == found.keys()
    np.testing.assert_allclose(loaded.losses, model.losses, rtol=1e-6)
    cloned = keras.models.clone_model(model)
    assert cloned.layers[0].kernel_regularizer.get_config() == config


@every_regularizer
def test_copies_go_their_own_ways(make, name):
    original = make()
    setattr(original, name, 0.5)
    copied = copy.deepcopy(original)
    assert copied.get_config() == original.get_config()
    setattr(copied, name, 0.75)
    assert float(getattr(original, name)) == 0.5


@every_regularizer
def test_make_live_leaves_it_as_it_is(make, name):
    model = model_with(make())
    model.compile("sgd", "mse")
    assert list(kx.make_live(model)) == []
    assert isinstance(
        getattr(model.layers[0].kernel_regularizer, name), kx.HyperVariable
    )


def weights_after(model, regularizer, name, values, replicas_batch=4):
    keras.utils.set_random_seed(1)
    for layer in model.layers:
        layer.kernel.assign(np.random.default_rng(1).normal(size=(3, 2)))
    traces = []
    for value in values:
        setattr(regularizer, name, value)
        model.fit(X, X[:, :2], batch_size=replicas_batch, verbose=0)
        traces.append(model.train_function)
    assert all(trace is traces[0] for trace in traces)
    return np.asarray(model.layers[0].kernel)


@some_regularizers
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.usefixtures("graphs_as_shipped")
def test_a_running_step_follows_it(make, name, jit_compile):
    regularizer = make()
    model = model_with(regularizer)
    model.compile("sgd", "mse", jit_compile=jit_compile)
    found = weights_after(model, regularizer, name, [0.0, 0.5, 0.25])
    # The same with penalties that are constants of the step.
    plain = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, name="dense")], name="model"
    )
    plain.layers[0].kernel.assign(np.random.default_rng(1).normal(size=(3, 2)))
    kernel, bias = plain.trainable_variables
    fixed = make()
    for value in (0.0, 0.5, 0.25):
        setattr(fixed, name, value)
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(keras.ops.square(plain(X) - X[:, :2]))
            loss += fixed(kernel)
        gradients = tape.gradient(loss, [kernel.value, bias.value])
        keras.optimizers.SGD(0.01).apply(gradients, [kernel, bias])
    np.testing.assert_allclose(found, kernel, rtol=1e-5, atol=1e-6)


@some_regularizers
@pytest.mark.thorough(LONG)
def test_replicas_do_not_change_it(make, name, strategies):
    kernels = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            regularizer = make()
            model = model_with(regularizer)
            model.compile("sgd", "mse")
        kernels.append(weights_after(model, regularizer, name, [0.5, 0.25]))
    np.testing.assert_allclose(kernels[0], kernels[1], rtol=1e-5, atol=1e-6)


@every_regularizer
def test_is_finite_and_in_float32_at_the_edges(make, name):
    for x in (np.zeros((3, 2)), np.eye(3), np.full((3, 2), 300.0)):
        for dtype in ("float32", "float16"):
            variable = tf.Variable(tf.cast(x, dtype))
            with tf.GradientTape() as tape:
                penalty = make()(variable)
            assert penalty.dtype == "float32"
            assert np.isfinite(float(penalty))
            gradient = np.asarray(tape.gradient(penalty, variable), "float64")
            assert dtype == "float16" or np.all(np.isfinite(gradient))


@every_regularizer
def test_rejects_bad_strengths(make, name):
    for value in (-0.1, "1", None, float("nan")):
        with pytest.raises(ValueError, match=f"`{name}` must be a number >= 0"):
            type(make())(**{name: value})
