"""What every optimizer must do, whatever its rule."""

import copy
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.optimizers import GradientPipeline
from tests.cases import OPTIMIZERS, matrix, parameters
from tests.optimizers.streams import GRADIENTS, KEPT, ORACLES, Run, oracle, show
from tests.thorough import thorough_but

# Not rules: what shapes the gradient of another optimizer.
OTHERS = {"GradientPipeline"}
every_optimizer = pytest.mark.parametrize("case", parameters(OPTIMIZERS))
every_mechanism = pytest.mark.parametrize("case", matrix(OPTIMIZERS))
FEW = GRADIENTS[:7]


def every_optimizer_that(*traits):
    """Those whose case has all of these traits."""
    return pytest.mark.parametrize("case", parameters(OPTIMIZERS, *traits))


def every_mechanism_that(*traits):
    """The same, of which only representatives run without `--thorough`."""
    return pytest.mark.parametrize("case", matrix(OPTIMIZERS, *traits))


def test_the_table_has_every_optimizer():
    units = {n: getattr(kx.optimizers, n) for n in kx.optimizers.__all__}
    kinds = {
        name
        for name, unit in units.items()
        if isinstance(unit, type) and issubclass(unit, keras.Optimizer)
    }
    assert set(OPTIMIZERS) == kinds - OTHERS
    for name, cases in OPTIMIZERS.items():
        assert all(type(case.make()).__name__ == name for case in cases)


@cache
def traced(case):
    return Run(case.make, dtype=case.precision)


@cache
def expected(case):
    """The weights after some gradients, in a graph and on one replica."""
    return traced(case).anew().after(FEW)


def assert_close(actual, expected, atol=1e-6, **tolerance):
    for a, e in zip(actual, expected, strict=True):
        a, e = (np.asarray(x, "float32") for x in (a, e))
        np.testing.assert_allclose(a, e, **{"rtol": 1e-5, "atol": atol, **tolerance})


@every_optimizer_that("oracle")
def test_follows_its_oracle(case):
    """Fifty updates; `fixtures/make_optimizers.py` says whose numbers these are."""
    run, theirs = traced(case).anew(), oracle(case.oracle)
    for t, ours, expected in zip(KEPT, run.kept(), theirs, strict=True):
        for weight, a, e in zip(run.weights, ours, expected, strict=True):
            if case.agrees_on in weight.name:
                message = f"{weight.name} after {t} updates"
                np.testing.assert_allclose(a, e, rtol=0, atol=1e-5, err_msg=message)


def test_every_oracle_is_asked():
    asked = {case.oracle for cases in OPTIMIZERS.values() for case in cases}
    assert asked - {None} == set(ORACLES)


@every_mechanism
def test_moves_weights_and_keeps_them_finite(case):
    run = traced(case).anew()
    kept = [id(v) for v in run.optimizer.variables]
    run.optimizer.build(run.weights)  # as Keras may
    assert [id(v) for v in run.optimizer.variables] == kept
    start = run.values()
    end = run.after(GRADIENTS[:25])
    for before, after in zip(start, end, strict=True):
        assert np.isfinite(after).all()
        assert np.abs(after - before).max() > 1e-3
    assert int(run.optimizer.iterations) == 25


@every_mechanism
def test_gives_the_same_weights_without_a_graph(case):
    run = Run(case.make, dtype=case.precision, function_options=None)
    assert_close(run.after(FEW), expected(case))


@every_mechanism
def test_gives_the_same_weights_compiled_by_xla(case):
    options = {"jit_compile": True}
    run = Run(case.make, dtype=case.precision, function_options=options)
    assert_close(run.after(FEW), expected(case), atol=1e-5)


@every_mechanism
def test_gives_the_same_weights_on_one_and_two_replicas(case, strategies):
    run = Run(case.make, strategies(2), case.precision)
    assert_close(run.after(FEW), expected(case))


@every_mechanism
@pytest.mark.parametrize("dtype", thorough_but(["float16"], ["float16", "bfloat16"]))
def test_weights_in_half_precision_move_as_others(case, dtype):
    """What is kept of them is as precise as that of others."""
    run = Run(case.make, dtype=dtype)
    digits = {"float16": 2e-2, "bfloat16": 1e-1}[dtype]
    assert_close(run.after(FEW), expected(case), atol=digits * case.half, rtol=0)
    state = {v.dtype for v in run.optimizer.variables if len(v.shape)}
    assert state <= {"float32", "int64", "int32"}


@every_mechanism
def test_in_a_pipeline_it_moves_by_the_mean_of_what_is_accumulated(case):
    make = lambda: GradientPipeline(case.make(), accumulation_steps=2)  # noqa: E731
    run = Run(make, dtype=case.precision)
    noise = [np.float32(np.random.default_rng(0).normal(size=g.shape)) for g in FEW[0]]
    for gradients in FEW:
        for sign in (1, -1):
            run.step([g + sign * n for g, n in zip(gradients, noise, strict=True)])
    assert int(run.optimizer.iterations) == len(FEW)
    assert_close(run.values(), expected(case), atol=1e-4)


# Numbers kept for each of a kernel of 64 x 32, by wrappers beside those of the wrapped.
# Matrices of sides: 2 * (64**2 + 32**2) / (64 * 32) = 5.
NUMBERS = {
    **dict.fromkeys(("Cautious", "Proximal"), 0),
    **dict.fromkeys(("DoG", "DoWG", "LARS", "LDoG", "Mechanic", "Momo", "MuonConv"), 1),
    **dict.fromkeys(("AdamMini", "NovoGrad", "SGDW", "ScheduleFree"), 1),
    **dict.fromkeys(("ADMM", "ADOPT", "AdaBelief", "AdaBound", "LAMB", "RAdam"), 2),
    **dict.fromkeys(("Lookahead", "Sophia", "Yogi"), 2),  # with "pullback"
    **dict.fromkeys(("AdEMAMix", "DAdaptAdam"), 3),
    **dict.fromkeys(("Adan", "Prodigy"), 4),
    "COCOB": 5,
    "Shampoo": 1 + 5,
    "SOAP": 2 + 5,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_keeps_so_many_numbers_for_each_weight(name):
    optimizer = OPTIMIZERS[name][0].make()
    optimizer.build([keras.Variable(np.zeros((64, 32), "float32"), name="kernel")])
    inner = getattr(optimizer, "optimizer", None)
    kept = {id(v): v for v in optimizer.variables}
    for variable in inner.variables if inner is not None else ():
        kept.pop(id(variable))
    # Besides, some keep a few for a unit or for all.
    of_each = sum(np.prod(v.shape) for v in kept.values()) / (64 * 32)
    assert NUMBERS[name] <= of_each < NUMBERS[name] + 0.05


@every_optimizer
def test_config_holds_every_argument(case):
    optimizer = case.make(weight_decay=0.1, clipnorm=2.0, name="mine")
    config = optimizer.get_config()
    restored = type(optimizer).from_config(copy.deepcopy(config))
    assert restored.get_config() == config
    saved = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(saved)
    assert type(again) is type(optimizer)
    assert again.get_config() == config


@every_mechanism
def test_a_restored_optimizer_goes_on_as_if_it_had_not_been_saved(case):
    """Here in the step that is traced already, whose variables are overwritten."""
    run = traced(case).anew()
    run.after(FEW)
    kept = [v.numpy() for v in run.variables]
    ahead = run.after(GRADIENTS[7:10])
    run.anew()
    for variable, value in zip(run.variables, kept, strict=True):
        variable.assign(value)
    assert_close(run.after(GRADIENTS[7:10]), ahead, rtol=0, atol=0)


@every_mechanism_that("keeps_zero")
def test_weights_without_a_gradient_rest(case):
    """And are not in danger when there is one."""
    run = Run(lambda: case.make(weight_decay=None), function_options=None)
    start = run.values()
    zeros = [np.zeros_like(g) for g in FEW[0]]
    assert_close(run.after([zeros] * 2), start, rtol=0, atol=0)
    assert all(np.isfinite(w).all() for w in run.after(FEW[:2]))
    assert all(np.isfinite(v.numpy()).all() for v in run.optimizer.variables)


@pytest.mark.parametrize("name", ["SOAP", "Shampoo"])
def test_a_gradient_that_is_not_finite_ends_no_update(name):
    """So that `TerminateOnNaN` and others see it; a decomposition raised an error."""
    optimizer = getattr(kx.optimizers, name)(update_every=1)
    kernel = keras.Variable(np.ones((2, 2), "float32"), name="kernel")
    for _ in range(3):
        optimizer.apply([tf.constant([[np.nan, 1.0], [1.0, 1.0]])], [kernel])
    assert np.isnan(kernel.numpy()).any()


@every_mechanism_that("follows_rate")
def test_the_learning_rate_may_be_set_while_training(case):
    run = traced(case).anew()
    rate = float(run.optimizer.learning_rate)
    run.after(FEW)
    state = [v.numpy() for v in run.variables]
    moved = []
    for factor in (1.0, 0.0):
        for variable, value in zip(run.variables, state, strict=True):
            variable.assign(value)
        run.optimizer.learning_rate = rate * factor
        before = run.values()
        after = run.after(FEW[:1])
        moved.append(
            max(np.abs(a - b).max() for a, b in zip(after, before, strict=True))
        )
    assert moved[0] > 0 == moved[1]


def make_model():
    layers = [
        keras.Input((4,), dtype="int32"),
        keras.layers.Embedding(6, 3),
        keras.layers.Flatten(),
        keras.layers.Dense(1),
    ]
    return keras.Sequential(layers)


X = np.random.default_rng(0).integers(0, 6, (32, 4))
Y = X.sum(axis=1, keepdims=True) / 10.0
POLICIES = ["mixed_float16", "mixed_bfloat16"]


@every_mechanism
@pytest.mark.parametrize("policy", thorough_but(POLICIES[:1], POLICIES))
def test_trains_a_model_and_goes_on_with_one_from_a_file(case, policy, tmp_path):
    """With sparse gradients, scaled losses, averages and callbacks of Keras."""
    if not case.may_be_scaled:
        # Keras forgets `auto_scale_loss` in a file, and scales the loss after all.
        policy = "mixed_bfloat16"
    keras.config.set_dtype_policy(policy)
    model = make_model()
    averages = {"use_ema": True, "ema_momentum": 0.5} if case.averages else {}
    model.compile(case.make(**averages), "mse")
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    start = model.get_weights()
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    rates = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9)
    callbacks = [rates, *([keras.callbacks.SwapEMAWeights()] if averages else [])]
    callbacks += case.callbacks()
    logs = model.fit(X, Y, epochs=3, callbacks=callbacks, **options).history
    assert logs["loss"][-1] < logs["loss"][0]
    assert logs["learning_rate"][-1] < logs["learning_rate"][0]
    for before, after in zip(start, model.get_weights(), strict=True):
        assert np.any(after != before)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for one in (model, loaded):
        one.fit(X, Y, callbacks=case.callbacks(), **options)
    assert_close(loaded.get_weights(), model.get_weights(), rtol=0, atol=0)


@every_mechanism
def test_its_shares_and_decay_may_be_live(case):
    """Tensors, in place of numbers that the step was compiled with."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(case.make(), "mse", run_eagerly=True)
    kx.make_live(model)
    callbacks = case.callbacks()
    model.fit(
        np.ones((2, 2)), np.ones((2, 1)), epochs=2, callbacks=callbacks, verbose=0
    )
    assert all(np.isfinite(w).all() for w in model.get_weights())


@every_mechanism
def test_a_sparse_gradient_counts_as_its_sum(case):
    table = keras.Variable(np.ones((3, 2), "float32"), name="table")
    dense = keras.Variable(np.ones((3, 2), "float32"), name="table")
    rows = tf.IndexedSlices(
        tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([1, 1]), tf.constant([3, 2])
    )
    same = tf.constant([[0.0, 0.0], [4.0, 6.0], [0.0, 0.0]])
    for gradient, weight in ((rows, table), (same, dense)):
        optimizer = case.make()
        optimizer.build([weight])
        show(optimizer, 10.0)
        optimizer.apply([gradient], [weight])
    assert_close([table], [dense])
