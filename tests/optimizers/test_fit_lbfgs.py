from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import OptimizeResult

import keras_ext as kx
from keras_ext.optimizers import fit_lbfgs
from keras_ext.optimizers._fit_lbfgs import _Run
from tests.thorough import LONG, TRAININGS, thorough_but

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def torch_found():
    with np.load(FIXTURES / "lbfgs.npz") as stored:
        return dict(stored)


@pytest.fixture
def double_precision():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def logistic(found):
    penalty = keras.regularizers.L2(float(found["penalty"]))
    dense = keras.layers.Dense(
        3, kernel_initializer="zeros", kernel_regularizer=penalty
    )
    model = keras.Sequential([keras.Input((6,)), dense])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def data_of(found, dtype="float32"):
    return found["x"].astype(dtype), found["y"], found["sample_weight"].astype(dtype)


def assert_is_that_of_torch(model, found, **tolerance):
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(kernel, found["kernel"], **tolerance)
    np.testing.assert_allclose(bias - bias.mean(), found["bias"], **tolerance)


def test_it_finds_the_minimum_that_torch_finds(torch_found, double_precision):
    """In double precision, to the last digits, in a few tens of passes."""
    model = logistic(torch_found)
    x, y, w = data_of(torch_found, "float64")
    to_the_end = {"gradient_tolerance": 1e-8, "loss_tolerance": 0, "verbose": 0}
    history = fit_lbfgs(model, x, y, sample_weight=w, **to_the_end)
    assert_is_that_of_torch(model, torch_found, rtol=1e-6, atol=1e-8)
    logs = history.history
    assert logs["loss"][-1] == pytest.approx(float(torch_found["loss"]), rel=1e-12)
    assert logs["largest_gradient"][-1] <= 1e-8
    assert history.reason == "No entry of the gradient is larger than 1e-08."
    assert np.all(np.diff(logs["loss"]) <= 0)
    assert logs["evaluations"][-1] < 60


@pytest.mark.parametrize("replicas", thorough_but([2], [1, 2]))
@pytest.mark.thorough(LONG)
def test_single_precision_batches_and_replicas_find_it_too(
    replicas, torch_found, strategies
):
    with strategies(replicas).scope():
        model = logistic(torch_found)
    x, y, w = data_of(torch_found)
    data = tf.data.Dataset.from_tensor_slices((x, y, w)).batch(64)
    history = fit_lbfgs(model, data, gradient_tolerance=1e-4, verbose=0)
    assert_is_that_of_torch(model, torch_found, rtol=5e-3, atol=2e-3)
    assert len(history.epoch) < 40


class Rosenbrock(keras.layers.Layer):
    """Two weights whose loss, for targets of 0, is (a - x)² + 100 (y - x²)²."""

    def build(self, shape):
        self.point = self.add_weight(shape=(2,), initializer="zeros", name="point")

    def call(self, inputs):
        x, y = self.point[0], self.point[1]
        residuals = keras.ops.stack([1.0 - x, 10.0 * (y - x**2)])
        return 2**0.5 * inputs * residuals


def test_it_follows_a_curved_valley(double_precision):
    model = keras.Sequential([keras.Input((2,)), Rosenbrock()])
    model.compile(loss="mse")
    ones, zeros = np.ones((1, 2)), np.zeros((1, 2))
    options = {"gradient_tolerance": 1e-8, "loss_tolerance": 0, "verbose": 0}
    history = fit_lbfgs(model, ones, zeros, **options)
    np.testing.assert_allclose(model.get_weights()[0], [1.0, 1.0], rtol=1e-7)
    assert len(history.epoch) < 40


class Barrier(keras.layers.Layer):
    """The loss of a weight `w` is w - 2 log(w), which a step too far cannot compute."""

    def build(self, shape):
        self.place = self.add_weight(shape=(), initializer="ones", name="place")

    def call(self, inputs):
        self.add_loss(self.place - 2.0 * keras.ops.log(self.place))
        return 0.0 * inputs


@pytest.mark.parametrize("start", [30.0, 1e-3])
def test_a_step_to_where_there_is_no_loss_is_made_shorter(start):
    """From 30, a step of SciPy's went to a negative weight, and it gave up."""
    model = keras.Sequential([keras.Input((1,)), Barrier()])
    model.compile(loss="mse")
    model.set_weights([np.array(start)])
    history = fit_lbfgs(model, np.zeros((1, 1)), np.zeros((1, 1)), verbose=0)
    assert float(model.get_weights()[0]) == pytest.approx(2.0, rel=1e-3)
    assert np.all(np.isfinite(history.history["loss"]))


def test_where_nothing_is_to_be_done_the_history_says_so():
    model = small()
    history = fit_lbfgs(model, X, Y, gradient_tolerance=1e3, verbose=0)
    assert history.epoch == [0]
    loss = model.evaluate(X, Y, verbose=0)[0]
    assert history.history["loss"] == [pytest.approx(loss, rel=1e-5)]


def test_where_the_line_search_finds_nothing_it_says_so():
    model = small()
    model.stop_training = False
    run = _Run(model, None, None)
    # As SciPy gives up, which it seldom does.
    result = OptimizeResult(jac=np.array([0.5, -3.0]), nit=0, status=2)
    with pytest.warns(UserWarning, match="has made no step. The line search found"):
        reason = run._reason(result, {"gtol": 1e-5, "ftol": 1e-9, "maxiter": 9})
    assert reason.startswith("The line search found no lower loss")
    assert reason.endswith("the largest entry of the gradient is 3.")


def test_constraints_are_refused():
    layer = keras.layers.Dense(1, kernel_constraint="non_neg", name="bound")
    model = keras.Sequential([keras.Input((2,)), layer])
    model.compile(loss="mse")
    with pytest.raises(ValueError, match="weights with a constraint.*bound/kernel"):
        fit_lbfgs(model, X, Y, verbose=0)


def small(**options):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.compile(loss="mse", metrics=["mae"], run_eagerly=True, **options)
    return model


X = np.random.default_rng(1).normal(size=(20, 2)).astype("float32")
Y = np.sin(X[:, :1]) + X[:, 1:]


def test_an_iteration_is_an_epoch_to_callbacks(tmp_path, capsys):
    model, path = small(), str(tmp_path / "{epoch}.keras")
    stop = keras.callbacks.EarlyStopping(
        "val_loss", mode="max", patience=2, restore_best_weights=True
    )
    save = keras.callbacks.ModelCheckpoint(path)
    history = fit_lbfgs(
        model, X, Y, validation_data=(X, Y), callbacks=[stop, save], verbose=2
    )
    logs = history.history
    assert set(logs) == {
        *("loss", "largest_gradient", "evaluations", "val_loss", "val_mae")
    }
    np.testing.assert_allclose(logs["val_loss"], logs["loss"], rtol=1e-4)
    # The loss falls: the best by that measure is the first, and it stops after 3.
    assert history.epoch == [0, 1, 2]
    assert history.reason == "A callback has stopped it."
    found = model.evaluate(X, Y, verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(logs["loss"][0], rel=1e-4)
    saved = keras.models.load_model(path.format(epoch=2))
    found = saved.evaluate(X, Y, verbose=0)[0]
    assert found == pytest.approx(logs["loss"][1], rel=1e-4)
    assert "Epoch 3/100" in capsys.readouterr().out


def test_it_ends_after_so_many_iterations_and_goes_on():
    model = small()
    first = fit_lbfgs(model, X, Y, max_iterations=3, verbose=0)
    assert first.reason == "It has made 3 iterations."
    again = fit_lbfgs(model, X, Y, max_iterations=3, verbose=0)
    assert again.history["loss"][0] < first.history["loss"][-1]


def test_an_error_leaves_the_weights_of_the_last_iteration():
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.weights = self.model.get_weights()
                raise KeyboardInterrupt

    model, interrupt = small(), Interrupt()
    with pytest.raises(KeyboardInterrupt):
        fit_lbfgs(model, X, Y, callbacks=[interrupt], verbose=0)
    for now, then in zip(model.get_weights(), interrupt.weights, strict=True):
        np.testing.assert_array_equal(now, then)
    assert "_keras_ext_run" not in vars(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"callbacks": [kx.callbacks.LayerwiseAdaptiveClipping()]},
            "such as change nothing in the step",
        ),
        ({"x": X * np.nan}, "one with a finite loss and gradient"),
        ({"x": tf.data.Dataset.from_tensors((X, Y))}, "`y` must be None with a"),
        ({"batch_size": 0}, "`batch_size` must be an integer >= 1"),
        ({"verbose": 3}, "`verbose` must be an integer in .0, 2."),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        fit_lbfgs(**{"model": small(), "x": X, "y": Y, "verbose": 0, **change})


def test_a_model_has_to_be_compiled():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="a model that is compiled"):
        fit_lbfgs(model, X, Y)


def test_an_optimizer_that_would_change_what_is_evaluated_is_refused():
    model = small()
    model.compile(kx.optimizers.Lookahead(keras.optimizers.SGD(0.1)), "mse")
    with pytest.raises(ValueError, match="one that leaves the weights alone"):
        fit_lbfgs(model, X, Y, validation_data=(X, Y), verbose=0)


@pytest.mark.thorough(TRAININGS)
def test_thousands_of_steps_of_adam_are_not_as_near(torch_found):
    x, y, w = data_of(torch_found)
    model = logistic(torch_found)
    model.compile(keras.optimizers.Adam(0.01), model.loss)
    model.fit(x, y, sample_weight=w, batch_size=150, epochs=300, verbose=0)
    lbfgs = logistic(torch_found)
    history = fit_lbfgs(lbfgs, x, y, sample_weight=w, verbose=0).history
    theirs = model.evaluate(x, y, sample_weight=w, batch_size=150, verbose=0)
    best = float(torch_found["loss"])
    assert history["loss"][-1] - best < 0.1 * (theirs - best)
    assert history["evaluations"][-1] < 60
